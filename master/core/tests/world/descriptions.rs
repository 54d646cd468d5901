//! Frameworks that describe themselves anew.

use super::{World, described};
use master_core::{Done, Refusal};
use model::call::{Call, Subscribe};
use model::constraints::Constraints;
use model::framework::Framework;
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// A framework describes itself anew, `change`d.
    pub(crate) fn update(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Framework),
    ) -> Option<Result<Done, Refusal>> {
        self.constrain(name, change, BTreeMap::new())
    }

    /// A framework describes itself anew, `change`d, and says which agents it wants offers of.
    pub(crate) fn constrain(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Framework),
        constraints: Constraints,
    ) -> Option<Result<Done, Refusal>> {
        let mut framework = described(&self.frameworks[name]);
        change(&mut framework);
        let constraints = Ok(constraints);
        let update = Subscribe { framework, suppressed: BTreeSet::new(), constraints };
        self.ask(name, Call::UpdateFramework(Box::new(Ok(update))))
    }
}
