//! In which order many guests start or stop: the stages of the boot service (its marks, one after the other) and what
//! each guest depends on.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use vserver_model::GuestName;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What is depended on comes first, whether it was chosen or not.
    Start,
    /// What is depended on comes last, and only if it was chosen.
    Stop,
}

/// What is known of a configured guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Lines of `apps/init/depends`.
    pub depends: Vec<OsString>,
    /// It has a file `disabled`: nothing but its own name chooses it.
    pub disabled: bool,
}

/// One guest to start or to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The guest.
    pub name: GuestName,
    /// Numbers of the jobs that must be over before.
    pub after: Vec<usize>,
    /// All jobs of lower stages must be over before.
    pub stage: usize,
    /// Nobody chose it, but a chosen one depends on it.
    pub pulled_in: bool,
    /// Why it is not even tried.
    pub refused: Option<String>,
}

/// Something wrong that is told before anything is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A dependency that is no guest: it is passed over.
    Missing {
        /// Who names it.
        guest: GuestName,
        /// What is named.
        dependency: OsString,
    },
    /// Each depends on the next, and the last on the first.
    Circle(Vec<GuestName>),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { guest, dependency } => {
                let dependency = dependency.display();
                write!(
                    f,
                    "Vserver '{dependency}' mentioned in 'apps/init/depends' of '{guest}' does not exist; "
                )?;
                f.write_str("skipping it...")
            }
            Self::Circle(guests) => {
                f.write_str("guests depend on each other in a circle: ")?;
                guests.iter().try_for_each(|guest| write!(f, "{guest} -> "))?;
                guests.first().map_or(Ok(()), |first| write!(f, "{first}"))
            }
        }
    }
}

/// Jobs and what is wrong with their dependencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// In the order of the stages, then as they were chosen.
    pub jobs: Vec<Job>,
    /// For the administrator, before anything is done.
    pub problems: Vec<Problem>,
}

impl Order {
    /// Puts the chosen guests, each with its stage, into order. Only names in `known` are guests.
    pub fn of(
        chosen: &[(usize, GuestName)],
        known: &BTreeMap<GuestName, Known>,
        direction: Direction,
    ) -> Self {
        let mut order = Self::default();
        let mut index: BTreeMap<GuestName, usize> = BTreeMap::new();
        for (stage, name) in chosen {
            if !index.contains_key(name) {
                index.insert(name.clone(), order.jobs.len());
                order.jobs.push(job(name, *stage, false));
            }
        }
        let mut at = 0;
        let mut needs: Vec<Vec<usize>> = Vec::new();
        // Jobs that are pulled in are appended, and looked at in their turn.
        while at < order.jobs.len() {
            let name = order.jobs[at].name.clone();
            let mut mine = Vec::new();
            for dependency in known.get(&name).map_or(&[][..], |known| &known.depends) {
                let guest = GuestName::new(dependency.clone()).ok();
                let Some((guest, facts)) = guest.and_then(|guest| known.get_key_value(&guest)) else {
                    let dependency = dependency.clone();
                    order.problems.push(Problem::Missing { guest: name.clone(), dependency });
                    continue;
                };
                match index.get(guest) {
                    Some(&known) => mine.push(known),
                    None if direction == Direction::Start => {
                        mine.push(order.jobs.len());
                        index.insert(guest.clone(), order.jobs.len());
                        let mut job = job(guest, order.jobs[at].stage, true);
                        job.refused = facts.disabled.then(|| "it is disabled".to_owned());
                        order.jobs.push(job);
                    }
                    None => {}
                }
            }
            mine.sort_unstable();
            mine.dedup();
            needs.push(mine);
            at += 1;
        }
        order.find_circles(&mut needs, direction);
        order.draw_forward(&needs);
        if direction == Direction::Stop {
            let last = order.jobs.iter().map(|job| job.stage).max().unwrap_or(0);
            order.jobs.iter_mut().for_each(|job| job.stage = last - job.stage);
        }
        for (at, needed) in needs.into_iter().enumerate() {
            for other in needed {
                match direction {
                    Direction::Start => order.jobs[at].after.push(other),
                    Direction::Stop => order.jobs[other].after.push(at),
                }
            }
        }
        order
    }

    /// Reports circles. At a start none of their guests is tried; at a stop what closes the circle is passed over, as
    /// everybody has to end.
    fn find_circles(&mut self, needs: &mut [Vec<usize>], direction: Direction) {
        let mut circles = Vec::new();
        let mut colour = vec![Colour::White; needs.len()];
        for at in 0..needs.len() {
            walk(at, needs, &mut colour, &mut Vec::new(), &mut circles);
        }
        for circle in circles {
            let names: Vec<GuestName> = circle.iter().map(|&at| self.jobs[at].name.clone()).collect();
            let problem = Problem::Circle(names);
            for &at in &circle {
                self.jobs[at].refused = (direction == Direction::Start).then(|| problem.to_string());
            }
            // The dependency that closes it: without it everything else has an order.
            if let (Some(first), Some(last)) = (circle.first(), circle.last()) {
                needs[*last].retain(|other| other != first);
            }
            self.problems.push(problem);
        }
    }

    /// What a guest of an early stage depends on belongs to no later one.
    fn draw_forward(&mut self, needs: &[Vec<usize>]) {
        let mut again = true;
        while again {
            again = false;
            for (at, needed) in needs.iter().enumerate() {
                for &other in needed {
                    if self.jobs[other].stage > self.jobs[at].stage {
                        self.jobs[other].stage = self.jobs[at].stage;
                        again = true;
                    }
                }
            }
        }
    }
}

fn job(name: &GuestName, stage: usize, pulled_in: bool) -> Job {
    Job { name: name.clone(), after: Vec::new(), stage, pulled_in, refused: None }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    White,
    Grey,
    Black,
}

/// Depth first, without recursion: a chain of dependencies may be as long as there are guests.
fn walk(
    from: usize,
    needs: &[Vec<usize>],
    colour: &mut [Colour],
    path: &mut Vec<(usize, usize)>,
    circles: &mut Vec<Vec<usize>>,
) {
    if colour[from] != Colour::White {
        return;
    }
    colour[from] = Colour::Grey;
    path.push((from, 0));
    while let Some(&mut (at, ref mut next)) = path.last_mut() {
        let Some(&other) = needs[at].get(*next) else {
            colour[at] = Colour::Black;
            path.pop();
            continue;
        };
        *next += 1;
        match colour[other] {
            Colour::White => {
                colour[other] = Colour::Grey;
                path.push((other, 0));
            }
            Colour::Grey => {
                let begin = path.iter().position(|(on_path, _)| *on_path == other).unwrap_or(0);
                circles.push(path[begin..].iter().map(|(on_path, _)| *on_path).collect());
            }
            Colour::Black => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> GuestName {
        GuestName::new(text).expect("a name")
    }

    fn site(guests: &[(&str, &[&str])]) -> BTreeMap<GuestName, Known> {
        let known = |depends: &[&str]| Known {
            depends: depends.iter().map(OsString::from).collect(),
            disabled: false,
        };
        guests.iter().map(|(guest, depends)| (name(guest), known(depends))).collect()
    }

    /// Names in an order in which one worker would take them.
    fn one_by_one(order: &Order) -> Vec<String> {
        let mut over = vec![false; order.jobs.len()];
        let mut taken = Vec::new();
        while let Some(at) = (0..order.jobs.len()).find(|&at| {
            let job = &order.jobs[at];
            let earlier = |other: usize| order.jobs[other].stage < job.stage && !over[other];
            !over[at] && job.after.iter().all(|&other| over[other]) && !(0..over.len()).any(earlier)
        }) {
            over[at] = true;
            taken.push(order.jobs[at].name.to_string());
        }
        taken
    }

    #[test]
    fn dependencies_come_first_at_a_start_and_last_at_a_stop() {
        let site = site(&[("web", &["db", "cache"]), ("db", &["disk"]), ("cache", &[]), ("disk", &[])]);
        let start = Order::of(&[(0, name("web"))], &site, Direction::Start);
        assert_eq!(one_by_one(&start), ["cache", "disk", "db", "web"]);
        assert!(start.jobs[0].refused.is_none() && !start.jobs[0].pulled_in && start.jobs[1].pulled_in);
        // Only the chosen ones stop.
        let stop = Order::of(&[(0, name("db")), (0, name("web"))], &site, Direction::Stop);
        assert_eq!(one_by_one(&stop), ["web", "db"]);
    }

    #[test]
    fn stages_follow_each_other_and_turn_round_at_a_stop() {
        let site = site(&[("a", &["z"]), ("b", &[]), ("z", &[])]);
        let chosen = [(0, name("b")), (0, name("a")), (1, name("z"))];
        // z belongs to the later stage, but a needs it.
        assert_eq!(one_by_one(&Order::of(&chosen, &site, Direction::Start)), ["b", "z", "a"]);
        assert_eq!(one_by_one(&Order::of(&chosen, &site, Direction::Stop)), ["b", "a", "z"]);
        let chosen = [(0, name("z")), (1, name("b"))];
        assert_eq!(one_by_one(&Order::of(&chosen, &site, Direction::Start)), ["z", "b"]);
        assert_eq!(one_by_one(&Order::of(&chosen, &site, Direction::Stop)), ["b", "z"]);
    }

    #[test]
    fn circles_and_missing_ones_are_told() {
        let site =
            site(&[("a", &["b"]), ("b", &["c"]), ("c", &["a", "nobody"]), ("d", &["a"]), ("e", &["e"])]);
        let chosen = [(0, name("d")), (0, name("e"))];
        let order = Order::of(&chosen, &site, Direction::Start);
        let told: Vec<String> = order.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "Vserver 'nobody' mentioned in 'apps/init/depends' of 'c' does not exist; skipping it...",
                "guests depend on each other in a circle: a -> b -> c -> a",
                "guests depend on each other in a circle: e -> e",
            ]
        );
        let refused: Vec<&str> = order
            .jobs
            .iter()
            .filter(|job| job.refused.is_some())
            .map(|job| job.name.as_os_str().to_str().expect("text"))
            .collect();
        assert_eq!(refused, ["e", "a", "b", "c"]);
    }

    #[test]
    fn a_disabled_guest_is_not_pulled_in() {
        let mut site = site(&[("web", &["db"]), ("db", &[])]);
        site.get_mut(&name("db")).expect("there").disabled = true;
        let order = Order::of(&[(0, name("web"))], &site, Direction::Start);
        assert_eq!(order.jobs[1].refused.as_deref(), Some("it is disabled"));
        let order = Order::of(&[(0, name("web")), (0, name("db"))], &site, Direction::Start);
        assert_eq!(order.jobs[1].refused, None);
    }

    proptest! {
        /// Without circles every guest has its turn, behind what it depends on.
        #[test]
        fn everybody_has_a_turn(edges in proptest::collection::vec((0..30_usize, 0..30_usize), 0..90), stages in proptest::collection::vec(0..4_usize, 30)) {
            let text = |number: usize| format!("g{number:02}");
            let mut site = BTreeMap::new();
            for at in 0..30 {
                let depends = edges.iter().filter(|(a, b)| a.max(b) == &at && a != b);
                let depends = depends.map(|(a, b)| OsString::from(text(*a.min(b)))).collect();
                site.insert(name(&text(at)), Known { depends, disabled: false });
            }
            let chosen: Vec<(usize, GuestName)> = (0..30).map(|at| (stages[at], name(&text(at)))).collect();
            for direction in [Direction::Start, Direction::Stop] {
                let order = Order::of(&chosen, &site, direction);
                prop_assert!(order.problems.is_empty());
                let taken = one_by_one(&order);
                prop_assert_eq!(taken.len(), 30);
                let place = |guest: &str| taken.iter().position(|other| other == guest).expect("taken");
                for (guest, known) in &site {
                    for other in &known.depends {
                        let (mine, theirs) = (place(&guest.to_string()), place(other.to_str().expect("text")));
                        prop_assert_eq!(theirs < mine, direction == Direction::Start);
                    }
                }
            }
        }
    }
}
