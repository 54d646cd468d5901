//! Drawing lots: a random order in which a heavier one is likelier to come early.

use model::rng::Rng;

/// Lots that have not been drawn yet.
///
/// The weights are kept as a tree of partial sums (a Fenwick tree), so that drawing one of many is
/// quick, and only as many are drawn as are asked for.
#[derive(Debug)]
pub(super) struct Lots<I> {
    items: Vec<I>,
    /// At `n` (from one) the sum of as many weights up to `n` as the lowest bit of `n` says.
    sums: Vec<u64>,
    weights: Vec<u64>,
    left: u64,
}

impl<I: Copy> Lots<I> {
    /// Lots of `items` with their weights, which may be of any unit.
    pub(super) fn new(items: impl Iterator<Item = (I, u64)>) -> Self {
        let (items, mut weights): (Vec<I>, Vec<u64>) = items.unzip();
        // So that their sum can be counted; no cluster comes near it.
        let most = u64::MAX / u64::try_from(items.len().max(1)).unwrap_or(u64::MAX);
        for weight in &mut weights {
            *weight = (*weight).min(most);
        }
        let mut sums = vec![0; weights.len() + 1];
        let mut left = 0;
        for (at, &weight) in weights.iter().enumerate() {
            let n = at + 1;
            sums[n] += weight;
            left += weight;
            let above = n + (n & n.wrapping_neg());
            if above < sums.len() {
                sums[above] += sums[n];
            }
        }
        Self { items, sums, weights, left }
    }

    /// The next one; absent when all are drawn.
    pub(super) fn draw(&mut self, rng: &mut Rng) -> Option<I> {
        if self.left == 0 {
            return None;
        }
        let at = self.find(rng.below(self.left));
        self.take(at);
        Some(self.items[at])
    }

    /// The item within whose weight `point` falls, all weights laid end to end.
    fn find(&self, mut point: u64) -> usize {
        let mut at = 0;
        let mut step = self.sums.len().next_power_of_two() / 2;
        while step > 0 {
            let next = at + step;
            if next < self.sums.len() && self.sums[next] <= point {
                at = next;
                point -= self.sums[next];
            }
            step /= 2;
        }
        at
    }

    fn take(&mut self, at: usize) {
        let weight = std::mem::take(&mut self.weights[at]);
        self.left -= weight;
        let mut n = at + 1;
        while n < self.sums.len() {
            self.sums[n] -= weight;
            n += n & n.wrapping_neg();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lots;
    use model::rng::Rng;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn each_is_drawn_once(weights in prop::collection::vec(1_u64..9, 0..40), seed in any::<u64>()) {
            let mut lots = Lots::new(weights.iter().copied().enumerate());
            let mut rng = Rng::new(seed);
            let mut drawn: Vec<usize> = std::iter::from_fn(|| lots.draw(&mut rng)).collect();
            drawn.sort_unstable();
            prop_assert_eq!(drawn, (0..weights.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_is_drawn_by_weight() {
        let mut rng = Rng::new(1);
        let mut first = [0; 3];
        for _ in 0..9_000 {
            let mut lots = Lots::new([(0, 1), (1, 3), (2, 5)].into_iter());
            first[lots.draw(&mut rng).expect("there are three")] += 1_u32;
        }
        for (got, due) in first.into_iter().zip([1_000, 3_000, 5_000]) {
            assert!(got.abs_diff(due) < 200, "{first:?}");
        }
    }
}
