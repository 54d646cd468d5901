//! Who of an app is in excess where it is: whom the constraints of today would place elsewhere.

use crate::app::{App, Constraint, Operator};
use crate::fleet::Fleet;
use crate::ids::InstanceId;
use crate::instance::{Condition, Instance, Place};
use crate::instances::Instances;
use crate::matcher;
use crate::rollout;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who of `app` is to be replaced so that all are where its constraints want them, of the agents that are known.
///
/// As few as can be: who is where it may be stays, and nobody goes for whom there is no better place.
pub(crate) fn excess(app: &App, all: &Instances, fleet: &Fleet) -> BTreeSet<InstanceId> {
    // Others are on their way out, and not compared with.
    let present: Vec<_> = all.values().filter(|it| it.is_counted() && it.is_current(app)).collect();
    let patterns = fleet.patterns(&app.constraints);
    let mut board = Board::of(&app.constraints, fleet.places(app));
    let mut running: Vec<&Arc<Instance>> = Vec::new();
    let mut homeless = 0;
    for instance in present {
        match &instance.task {
            Some(_) if instance.condition != Condition::Killing => running.push(instance),
            _ => homeless += 1,
        }
    }
    rollout::order(&mut running, &BTreeSet::new(), app.kill_selection);
    let places = running.iter().filter_map(|it| it.task.as_ref()).map(|task| &task.place);
    let may_stay = |place: &Place| matcher::may_ever_go(&app.constraints, &patterns, place);
    let all: Vec<_> = places.map(|place| (may_stay(place), place)).collect();
    let gone = board.even_out(&all, homeless);
    gone.into_iter().map(|at| running[at].id.clone()).collect()
}

/// The number that a value has on the board, for each field; absent where a place has none.
type Spot = Vec<Option<usize>>;

/// How many instances have each value of the fields that constraints compare, and where there is room.
#[derive(Debug)]
struct Board {
    fields: Vec<Field>,
    /// The values of the agents that there are, those that are alike once.
    seats: BTreeSet<Spot>,
}

#[derive(Debug, Default)]
struct Field {
    name: String,
    /// The most that may have one value.
    most: Option<usize>,
    /// Whether all values are to have as many.
    is_even: bool,
    /// Whether all are to have one value, and which.
    is_one: bool,
    home: Option<usize>,
    numbers: BTreeMap<Arc<str>, usize>,
    counts: Vec<usize>,
    /// Which values there are agents of.
    is_there: Vec<bool>,
}

impl Field {
    fn number(&mut self, value: &Arc<str>) -> usize {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = self.counts.len();
        self.numbers.insert(value.clone(), number);
        self.counts.push(0);
        self.is_there.push(false);
        number
    }

    /// How many the value has that has fewest, of those that there are.
    fn least(&self) -> Option<usize> {
        let there = self.counts.iter().zip(&self.is_there).filter(|(_, is_there)| **is_there);
        there.map(|(count, _)| *count).min()
    }

    /// The value that has most, if that is more than its share.
    fn largest(&self) -> Option<usize> {
        let (at, most) = self.counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
        (*most >= self.least()? + 2).then_some(at)
    }

    /// Whether one more may have this value.
    fn takes(&self, value: Option<usize>, least: Option<usize>) -> bool {
        let Some(value) = value else { return false };
        let count = self.counts[value];
        self.most.is_none_or(|most| count < most)
            && (!self.is_even || Some(count) == least)
            && self.home.is_none_or(|home| home == value)
    }

    /// Whether it holds for one that has this value, as for all the others.
    fn holds(&self, value: Option<usize>) -> bool {
        let Some(value) = value else { return true };
        self.most.is_none_or(|most| self.counts[value] <= most)
            && self.home.is_none_or(|home| home == value)
    }
}

impl Board {
    /// An empty one, with these agents, each with whether it has room.
    fn of<'a>(constraints: &[Constraint], agents: impl Iterator<Item = (&'a Place, bool)>) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        for Constraint { field, operator, value } in constraints {
            let at = fields.iter().position(|it| it.name == *field);
            let at = at.unwrap_or(fields.len());
            if at == fields.len() {
                fields.push(Field { name: field.clone(), ..Field::default() });
            }
            let (value, it) = (value.as_deref().unwrap_or_default(), &mut fields[at]);
            match operator {
                Operator::Unique => it.most = Some(1),
                Operator::MaxPer => {
                    let most = value.parse().ok();
                    it.most = it.most.into_iter().chain(most).min();
                }
                Operator::GroupBy => it.is_even = true,
                Operator::Cluster => it.is_one |= value.is_empty(),
                Operator::Like | Operator::Unlike | Operator::Is => {}
            }
        }
        fields.retain(|it| it.most.is_some() || it.is_even || it.is_one);
        let mut board = Self { fields, seats: BTreeSet::new() };
        for (agent, has_room) in agents {
            let seat = board.spot(agent);
            for (field, number) in board.fields.iter_mut().zip(&seat) {
                if let Some(number) = number {
                    field.is_there[*number] = true;
                }
            }
            if has_room {
                board.seats.insert(seat);
            }
        }
        board
    }

    fn spot(&mut self, place: &Place) -> Spot {
        let mut spot = Spot::new();
        for field in &mut self.fields {
            let value = matcher::value_of(place, &field.name);
            spot.push(value.map(|value| field.number(value)));
        }
        spot
    }

    fn add(&mut self, spot: &Spot) {
        for (field, number) in self.fields.iter_mut().zip(spot) {
            if let Some(number) = number {
                field.counts[*number] += 1;
            }
        }
    }

    fn remove(&mut self, spot: &Spot) {
        for (field, number) in self.fields.iter_mut().zip(spot) {
            if let Some(number) = number {
                field.counts[*number] -= 1;
            }
        }
    }

    /// Gives one more instance a place, if there is one.
    fn seat(&mut self) -> bool {
        let least: Vec<_> = self.fields.iter().map(Field::least).collect();
        let takes = |seat: &&Spot| {
            let mut all = self.fields.iter().zip(*seat).zip(&least);
            all.all(|((field, number), least)| field.takes(*number, *least))
        };
        let Some(seat) = self.seats.iter().find(takes).cloned() else { return false };
        self.add(&seat);
        true
    }

    /// Moves one from `spot` to another place, if there is one.
    fn moves(&mut self, spot: &Spot) -> bool {
        self.remove(spot);
        let is_moved = self.seat();
        if !is_moved {
            self.add(spot);
        }
        is_moved
    }

    /// Who of `all` goes elsewhere so that everything holds and is even, `homeless` others having been placed
    /// first. `all` are in the order in which they go, each with where it is and whether it may be there if it were
    /// alone.
    fn even_out(&mut self, all: &[(bool, &Place)], homeless: usize) -> BTreeSet<usize> {
        let spots: Vec<Spot> = all.iter().map(|(_, place)| self.spot(place)).collect();
        for spot in &spots {
            self.add(spot);
        }
        for field in self.fields.iter_mut().filter(|it| it.is_one) {
            let all = field.counts.iter().enumerate().filter(|(at, _)| field.is_there[*at]);
            field.home = all.max_by_key(|(_, count)| **count).map(|(at, _)| at);
        }
        let mut gone = BTreeSet::new();
        // Who is where nobody of it may be makes room for others, and so goes first.
        for (at, spot) in spots.iter().enumerate().filter(|(at, _)| !all[*at].0) {
            if self.moves(spot) {
                gone.insert(at);
            }
        }
        for _ in 0..homeless {
            if !self.seat() {
                break;
            }
        }
        for (at, spot) in spots.iter().enumerate().filter(|(at, _)| all[*at].0) {
            let holds = |board: &Self| {
                let mut fields = board.fields.iter().zip(spot);
                fields.all(|(field, number)| field.holds(*number))
            };
            if !holds(self) && self.moves(spot) {
                gone.insert(at);
            }
        }
        while let Some(at) = self.next_of_largest(&spots, &gone) {
            gone.insert(at);
        }
        // Where some stay apart nobody can come to the others.
        let is_apart = |spot: &Spot| {
            let mut fields = self.fields.iter().zip(spot);
            fields.any(|(field, number)| field.is_one && number.is_some() && *number != field.home)
        };
        let mut stay = spots.iter().enumerate().filter(|(at, _)| !gone.contains(at));
        if stay.any(|(_, spot)| is_apart(spot)) {
            return BTreeSet::new();
        }
        gone
    }

    /// Moves one that has a value which has more than its share. As long as there is one the counts become
    /// more even each time, so that comes to an end.
    fn next_of_largest(&mut self, spots: &[Spot], gone: &BTreeSet<usize>) -> Option<usize> {
        let even = (0..self.fields.len()).filter(|at| self.fields[*at].is_even);
        for field in even.collect::<Vec<_>>() {
            let Some(largest) = self.fields[field].largest() else { continue };
            let mut all = spots.iter().enumerate();
            let next = all.find(|(at, spot)| {
                spot[field] == Some(largest) && !gone.contains(at) && self.moves(spot)
            });
            if let Some((at, _)) = next {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ids::AgentId;
    use proptest::prelude::*;

    fn place(agent: usize, rack: usize) -> Place {
        Place {
            agent: AgentId::new(format!("S{agent}")).expect("an id"),
            host: format!("host{agent}").into(),
            region: None,
            zone: Some(format!("z{}", agent % 2).into()),
            attributes: vec![("rack".into(), format!("r{rack}").into())],
        }
    }

    fn constraint(field: &str, operator: Operator, value: Option<&str>) -> Constraint {
        Constraint { field: field.to_owned(), operator, value: value.map(str::to_owned) }
    }

    /// Who goes of instances on these of the `agents`, whose racks are given.
    fn gone(constraints: &[Constraint], agents: &[usize], on: &[usize]) -> BTreeSet<usize> {
        let places: Vec<_> = agents.iter().enumerate().map(|(at, rack)| place(at, *rack)).collect();
        let mut board = Board::of(constraints, places.iter().map(|place| (place, true)));
        let all: Vec<_> = on.iter().map(|agent| (true, &places[*agent])).collect();
        board.even_out(&all, 0)
    }

    /// How many of those who stay are on each of `racks`.
    fn stay(agents: &[usize], on: &[usize], gone: &BTreeSet<usize>, racks: usize) -> Vec<usize> {
        let stays = on.iter().enumerate().filter(|(at, _)| !gone.contains(at));
        let mut counts = vec![0; racks];
        for (_, agent) in stays {
            counts[agents[*agent]] += 1;
        }
        counts
    }

    proptest! {
        #[test]
        fn as_few_go_as_can_be_and_those_who_stay_leave_room_for_an_even_spread(
            on in prop::collection::vec(0_usize..6, 0..40),
            racks in prop::collection::vec(0_usize..4, 6),
        ) {
            let even = [constraint("rack", Operator::GroupBy, None)];
            let gone = gone(&even, &racks, &on);
            let there: BTreeSet<usize> = racks.iter().copied().collect();
            let mut before = stay(&racks, &on, &BTreeSet::new(), 4);
            let mut after = stay(&racks, &on, &gone, 4);
            // Each of those who go comes again where the fewest are.
            for _ in &gone {
                let least = there.iter().min_by_key(|rack| after[**rack]).expect("one");
                after[*least] += 1;
            }
            let of = there.iter().map(|rack| after[*rack]);
            let (least, most) = (of.clone().min().expect("one"), of.max().expect("one"));
            prop_assert!(most - least <= 1, "{:?}", after);
            // The racks that have most keep the most that a share can be.
            before.sort_unstable();
            let share = |at: usize| on.len() / there.len() + usize::from(at < on.len() % there.len());
            let needed = before.iter().rev().enumerate().take(there.len());
            let needed: usize = needed.map(|(at, count)| count.saturating_sub(share(at))).sum();
            prop_assert_eq!(gone.len(), needed);
        }
    }

    #[test]
    fn nobody_goes_where_all_is_even_or_there_is_nowhere_to_go() {
        let even = [constraint("rack", Operator::GroupBy, None)];
        assert!(gone(&even, &[0, 1], &[0, 0, 1]).is_empty());
        assert!(gone(&even, &[0, 0], &[0, 0, 1]).is_empty(), "there is one rack");
        let unique = [constraint("hostname", Operator::Unique, None)];
        assert!(gone(&unique, &[0], &[0, 0]).is_empty(), "no other agent");
        assert!(gone(&[], &[0, 1], &[0, 0, 0]).is_empty());
    }

    #[test]
    fn nobody_goes_where_one_is_waited_for_that_has_no_room() {
        let even = [constraint("rack", Operator::GroupBy, None)];
        let places: Vec<_> = (0..3).map(|rack| place(rack, rack)).collect();
        let full = |at: usize| at == 2;
        let agents = places.iter().enumerate().map(|(at, place)| (place, !full(at)));
        let mut board = Board::of(&even, agents);
        let on = [0, 0, 0, 0, 1].map(|at| (true, &places[at]));
        assert!(board.even_out(&on, 0).is_empty(), "the next is to go to the third rack");
    }

    #[test]
    fn who_is_one_too_many_goes() {
        let unique = [constraint("hostname", Operator::Unique, None)];
        assert_eq!(gone(&unique, &[0, 0], &[0, 0]), [0].into());
        assert_eq!(gone(&unique, &[0, 0], &[0, 0, 0]), [0].into(), "there is room for one");
        let two = [constraint("hostname", Operator::MaxPer, Some("2"))];
        assert_eq!(gone(&two, &[0, 0], &[0, 0, 0, 1]), [0].into());
        let one = [constraint("rack", Operator::Cluster, None)];
        assert_eq!(gone(&one, &[0, 1], &[0, 1, 1]), [0].into());
        let alone = [one[0].clone(), constraint("hostname", Operator::Unique, None)];
        assert_eq!(gone(&alone, &[0, 0, 0, 1], &[0, 1, 3]), [2].into());
        let none = gone(&alone, &[0, 0, 0, 1, 1], &[0, 1, 3, 4]);
        assert!(none.is_empty(), "one would be left behind, and the other find no place");
    }

    #[test]
    fn who_may_not_be_where_it_is_goes_and_who_waits_is_placed_first() {
        let even = [constraint("rack", Operator::GroupBy, None)];
        let places = [place(0, 0), place(1, 1)];
        let mut board = Board::of(&even, places[..1].iter().map(|place| (place, true)));
        let all = [(true, &places[0]), (false, &places[1])];
        assert_eq!(board.even_out(&all, 0), [1].into());
        let mut board = Board::of(&even, places.iter().map(|place| (place, true)));
        let all = [(true, &places[0]); 3];
        assert!(board.even_out(&all, 2).is_empty(), "those who wait make up for it");
    }
}
