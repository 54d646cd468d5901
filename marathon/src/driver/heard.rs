//! What comes of the master, as inputs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use base64::prelude::{BASE64_STANDARD, Engine};
use framework_sdk::{End, SessionEvent};
use marathon_core::instance::Place;
use marathon_core::io::{AgentView, FailingCheck, Input, OfferView, UpdateView};
use marathon_core::matcher;
use model::ids::{AgentId, ExecutorId, FrameworkId, OfferId};
use model::role::Role;
use model::task::Source;
use proto::convert;
use proto::mesos::v1;
use proto::mesos::v1::master::response::get_agents::Agent;
use proto::mesos::v1::scheduler::Event;
use serde_json::{Value, json};

use super::reservations::take_held;
use super::{Driver, RECONNECT_AFTER};

impl Driver {
    pub(super) fn heard(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Subscribed { framework, master, address, .. } => {
                let Ok(framework) = FrameworkId::try_from(&framework) else { return };
                let domain = master.as_ref().and_then(|master| master.domain.as_ref());
                let (region, _) = region_and_zone(domain);
                let master = master.and_then(|master| {
                    let address = master.address?;
                    Some(format!("{}:{}", address.hostname.or(address.ip)?, address.port))
                });
                let master: Arc<str> = master.unwrap_or(address).into();
                self.step(Input::Subscribed { framework, master, region });
            }
            SessionEvent::Disconnected { why } => {
                tracing::warn!(why, "the master is gone");
                self.step(Input::Disconnected);
            }
            SessionEvent::Ended(end) => self.ended(end),
            SessionEvent::Event(event) => self.event(*event),
        }
    }

    fn event(&mut self, event: Event) {
        if let Some(offers) = event.offers {
            let session = self.lead.as_ref().and_then(|lead| lead.session.as_ref());
            let framework = session.and_then(|session| session.handle.framework_id());
            let framework = framework.as_ref().map(|id| id.value.as_str());
            let role = &self.parts.role;
            let views = offers.offers.into_iter();
            let views = views.filter_map(|offer| view_of_offer(offer, role, framework));
            let views: Vec<_> = views.collect();
            self.step(Input::Offers(views));
        }
        if let Some(offers) = event.inverse_offers {
            let offers = offers.inverse_offers.into_iter().filter_map(|offer| {
                let read = convert::offer::inverse_from_wire(&offer);
                read.inspect_err(|why| tracing::warn!(%why, "an inverse offer makes no sense")).ok()
            });
            let offers: Vec<_> = offers.collect();
            self.step(Input::InverseOffers(offers));
        }
        if let Some(rescind) = event.rescind_inverse_offer
            && let Ok(offer) = OfferId::try_from(&rescind.inverse_offer_id)
        {
            self.step(Input::RescindInverse(offer));
        }
        if let Some(update) = event.update {
            match view_of_update(update.status) {
                Ok(view) => self.step(Input::Update(view)),
                Err(why) => tracing::warn!(%why, "a status update makes no sense"),
            }
        }
        if let Some(message) = event.message
            && let Ok(agent) = AgentId::try_from(&message.agent_id)
            && let Ok(executor) = ExecutorId::try_from(&message.executor_id)
        {
            let message = BASE64_STANDARD.encode(&message.data).into();
            self.step(Input::Message { executor, agent, message });
        }
        if let Some(rescind) = event.rescind
            && let Ok(offer) = OfferId::try_from(&rescind.offer_id)
        {
            self.step(Input::Rescind(offer));
        }
        if let Some(failure) = event.failure
            && failure.executor_id.is_none()
            && let Some(agent) = failure.agent_id.and_then(|id| AgentId::try_from(&id).ok())
        {
            self.step(Input::AgentLost(agent));
        }
    }

    /// Asks the master for its agents. Whoever does not answer is asked again later.
    pub(super) fn ask_agents(&self) {
        let (masters, told) = (self.parts.masters.clone(), self.agents.clone());
        tokio::spawn(async move {
            let all = masters.agents().await.inspect_err(|why| {
                tracing::warn!(
                    why,
                    "the master does not tell its agents: GROUP_BY knows those only that make offers"
                );
            });
            // Nobody listens any more when the process ends.
            let _ = told.send(all.ok().map(|all| {
                let one = |agent| {
                    let view = view_of_agent(agent);
                    view.inspect_err(|why| tracing::warn!(%why, "an agent makes no sense")).ok()
                };
                all.into_iter().filter_map(one).collect()
            }));
        });
    }

    fn ended(&mut self, end: End) {
        self.step(Input::Disconnected);
        let Some(lead) = &mut self.lead else { return };
        let known = lead.session.take().and_then(|session| session.handle.framework_id());
        let known = known.and_then(|id| FrameworkId::try_from(&id).ok());
        match end {
            End::FailedOver => {
                tracing::warn!("another process subscribes as this framework");
                self.turn.steps_down = true;
            }
            End::Removed => {
                // Its tasks are gone with it: under a new id all of them are launched anew.
                tracing::error!("the framework was removed from the cluster; it starts over");
                // Nobody has refused it yet: who does is asked less often.
                self.reconnect = Some((Instant::now(), None));
            }
            End::Rejected(why) if why.contains("has been removed") => {
                tracing::error!(why, "the framework was removed meanwhile; it starts over");
                self.reconnect = Some((Instant::now() + RECONNECT_AFTER, None));
            }
            End::Rejected(why) => {
                tracing::error!(why, "the master refuses us; see --mesos_role and --mesos_user");
                self.reconnect = Some((Instant::now() + RECONNECT_AFTER, known));
            }
            End::Stopped => {}
        }
    }
}

fn view_of_agent(agent: Agent) -> Result<AgentView, convert::Malformed> {
    let is_in_use = agent.active && !agent.deactivated() && agent.drain_info.is_none();
    let info = agent.agent_info;
    let (region, zone) = region_and_zone(info.domain.as_ref());
    let attributes = convert::resources::attributes_from_wire(&info.attributes)?;
    let place = Place {
        agent: AgentId::try_from(&info.id.unwrap_or_default())?,
        host: info.hostname.into(),
        region,
        zone,
        attributes: matcher::written(&attributes),
    };
    let total = convert::resources::from_wire(&agent.total_resources)?;
    let allocated = convert::resources::from_wire(&agent.allocated_resources)?;
    Ok(AgentView { place, is_in_use, total, allocated })
}

/// Where somebody is who is in `domain`.
fn region_and_zone(domain: Option<&v1::DomainInfo>) -> (Option<Arc<str>>, Option<Arc<str>>) {
    let domain = domain.and_then(|domain| domain.fault_domain.as_ref());
    let region = domain.map(|domain| domain.region.name.as_str().into());
    (region, domain.map(|domain| domain.zone.name.as_str().into()))
}

fn view_of_offer(mut wire: v1::Offer, role: &Role, framework: Option<&str>) -> Option<OfferView> {
    let (region, zone) = region_and_zone(wire.domain.as_ref());
    let attributes = convert::resources::attributes_from_wire(&wire.attributes);
    let held = take_held(&mut wire.resources, framework).into_iter();
    let held = held.map(|(id, of)| Ok((id, convert::resources::from_wire(&of)?)));
    let held: Result<BTreeMap<_, _>, convert::Malformed> = held.collect();
    let offer = convert::offer::from_wire(wire, role);
    match (offer, attributes, held) {
        (Ok(offer), Ok(attributes), Ok(held)) => {
            Some(OfferView { offer, attributes, region, zone, held })
        }
        (Err(why), _, _) | (_, Err(why), _) | (_, _, Err(why)) => {
            tracing::warn!(%why, "an offer makes no sense");
            None
        }
    }
}

/// What a check says, in the shape of the API; absent before its first result.
fn check_result(wire: &v1::CheckStatusInfo) -> Option<Value> {
    let command = wire.command.as_ref().and_then(|it| it.exit_code);
    let command = command.map(|code| json!({"command": {"exitCode": code}}));
    let http = wire.http.as_ref().and_then(|it| it.status_code);
    let http = http.map(|code| json!({"http": {"statusCode": code}}));
    let tcp = wire.tcp.as_ref().and_then(|it| it.succeeded);
    command.or(http).or(tcp.map(|succeeded| json!({"tcp": {"succeeded": succeeded}})))
}

fn view_of_update(wire: v1::TaskStatus) -> Result<UpdateView, convert::Malformed> {
    let check = wire.check_status.as_ref().and_then(check_result);
    let networks = wire.container_status.iter().flat_map(|status| &status.network_infos);
    let addresses = networks
        .flat_map(|network| &network.ip_addresses)
        .filter_map(|address| address.ip_address.as_deref().map(Arc::from))
        .collect();
    let failing = wire.failing_health_checks.iter().filter_map(|check| {
        let place = usize::try_from(check.place).ok()?;
        Some(FailingCheck { place, failures: check.failures })
    });
    let failing = failing.collect();
    let status = convert::task::status_from_wire(wire, Source::Agent)?;
    Ok(UpdateView { status, addresses, check, failing })
}
