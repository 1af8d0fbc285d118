use super::{Index, Left};

fn take(index: &mut Index<&'static str, u64>, now_ms: u64) -> Option<(&'static str, u64)> {
    let taken = index.take(now_ms)?;
    Some((taken.line, taken.item))
}

fn fill(index: &mut Index<&'static str, u64>, line: &'static str, keys: &[(u64, u64)]) {
    for key in keys {
        index.insert(&line, *key, key.1);
    }
}

#[test]
fn items_come_when_they_are_due_in_order() {
    let mut index = Index::new(100, 100);
    fill(&mut index, "a", &[(30, 1), (10, 2), (10, 3), (20, 4)]);
    assert_eq!(index.next_due(), Some(10));
    assert_eq!(take(&mut index, 9), None);
    assert_eq!(take(&mut index, 20), Some(("a", 2)));
    assert_eq!(take(&mut index, 20), Some(("a", 3)));
    assert_eq!(take(&mut index, 20), Some(("a", 4)));
    assert_eq!(take(&mut index, 20), None);
    assert_eq!((index.next_due(), index.waiting()), (Some(30), 1));
    // One that comes later and is due earlier is earlier.
    fill(&mut index, "a", &[(25, 9)]);
    assert_eq!(index.next_due(), Some(25));
    assert_eq!(take(&mut index, 30), Some(("a", 9)));
    assert_eq!(take(&mut index, 30), Some(("a", 1)));
    assert_eq!((index.running(), index.waiting()), (5, 0));
}

#[test]
fn what_is_due_stays_so_when_the_clock_is_set_back() {
    let mut index = Index::new(4, 1);
    fill(&mut index, "a", &[(10, 1)]);
    fill(&mut index, "b", &[(20, 2)]);
    assert_eq!(take(&mut index, 20), Some(("a", 1)));
    assert_eq!(take(&mut index, 0), Some(("b", 2)));
}

#[test]
fn the_line_with_the_fewest_runs_is_next() {
    let mut index = Index::new(100, 100);
    fill(&mut index, "a", &[(1, 1), (1, 2), (1, 3), (1, 4)]);
    fill(&mut index, "b", &[(5, 5), (5, 6)]);
    let order: Vec<_> = (0..6).filter_map(|_| take(&mut index, 9)).collect();
    let lines: Vec<_> = order.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, ["a", "b", "a", "b", "a", "a"]);
}

#[test]
fn no_line_takes_more_than_it_leaves() {
    let mut index = Index::new(16, 100);
    for line in ["a", "b", "c", "d", "e"] {
        let first = 1_000 * u64::from(line.as_bytes()[0]);
        let keys: Vec<_> = (first..first + 100).map(|seq| (0, seq)).collect();
        fill(&mut index, line, &keys);
        while take(&mut index, 0).is_some() {}
    }
    // 8 of 16, 4 of 8, 2 of 4, 1 of 2, 1 of 1.
    assert_eq!(index.running(), 16);
    index.leave(&"a", Left::Served);
    fill(&mut index, "f", &[(0, 1)]);
    assert_eq!(take(&mut index, 0), Some(("f", 1)));
    assert_eq!(take(&mut index, 0), None);
}

#[test]
fn a_refused_line_slows_down_and_recovers() {
    let mut index = Index::new(100, 8);
    let keys: Vec<_> = (0..10_000).map(|seq| (0, seq)).collect();
    fill(&mut index, "a", &keys);
    let run = |index: &mut Index<_, _>, left| {
        let mut at_once = 0;
        while take(index, 0).is_some() {
            at_once += 1;
        }
        for _ in 0..at_once {
            index.leave(&"a", left);
        }
        at_once
    };
    assert_eq!(run(&mut index, Left::Refused), 8);
    let steps: Vec<_> = (0..9).map(|_| run(&mut index, Left::Served)).collect();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7, 8, 8]);
}

#[test]
fn removing_a_line_spares_what_runs() {
    let mut index = Index::new(10, 2);
    fill(&mut index, "a", &[(0, 1), (0, 2), (0, 3), (9, 4)]);
    fill(&mut index, "b", &[(0, 5)]);
    assert_eq!(take(&mut index, 0), Some(("a", 1)));
    assert_eq!(index.remove(&"a"), [2, 3, 4]);
    assert_eq!(index.remove(&"c"), [0; 0]);
    assert_eq!((index.waiting(), index.running()), (1, 1));
    fill(&mut index, "a", &[(0, 6)]);
    index.leave(&"a", Left::Served);
    assert_eq!(take(&mut index, 0), Some(("b", 5)));
    assert_eq!(take(&mut index, 0), Some(("a", 6)));
    assert_eq!(take(&mut index, 0), None);
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn everything_comes_once_within_the_bounds_and_nothing_idles() {
    const LINES: [&str; 5] = ["a", "b", "c", "d", "e"];
    for seed in 1..=50 {
        let mut dice = Dice(seed);
        let mut index = Index::new(12, 4);
        let mut running = [const { Vec::<u64>::new() }; 5];
        let (mut waiting, mut taken) = (std::collections::BTreeMap::new(), Vec::new());
        let mut now = 0;
        for seq in 0..2_000 {
            let line = usize::try_from(dice.throw(5)).unwrap();
            match dice.throw(4) {
                0 | 1 => {
                    let due = now + dice.throw(50);
                    index.insert(&LINES[line], (due, seq), seq);
                    waiting.insert(seq, (due, line));
                }
                2 if running[line].pop().is_some() => {
                    let refused = dice.throw(10) == 0;
                    let left = if refused { Left::Refused } else { Left::Served };
                    index.leave(&LINES[line], left);
                }
                _ => now += dice.throw(20),
            }
            while let Some(next) = index.take(now) {
                let line = LINES.iter().position(|line| *line == next.line).unwrap();
                let (due, of) = waiting.remove(&next.item).unwrap();
                assert!(due <= now && of == line);
                running[line].push(next.item);
                taken.push(next.item);
                assert!(running[line].len() <= 4);
            }
            let at_once: usize = running.iter().map(Vec::len).sum();
            assert_eq!(at_once, index.running() as usize);
            assert_eq!(waiting.len(), index.waiting());
            assert!(at_once <= 12);
            // A line that runs nothing has its first item started as soon as it is due.
            let idle = |line: usize| running[line].is_empty();
            let late = waiting
                .values()
                .any(|(due, line)| *due <= now && idle(*line));
            assert!(!late || at_once == 12);
        }
        for line in 0..5 {
            for _ in running[line].drain(..) {
                index.leave(&LINES[line], Left::Served);
            }
        }
        while let Some(next) = index.take(u64::MAX) {
            assert!(waiting.remove(&next.item).is_some());
            index.leave(&next.line, Left::Served);
        }
        assert!(waiting.is_empty() && index.lines.is_empty());
        assert!(index.ready.is_empty() && index.later.is_empty());
        assert!(taken.len() > 400);
    }
}
