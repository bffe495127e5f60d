//! Combinations of k out of n elements that contain a given element.

/// The `size`-combinations of `0..len` that contain `pinned`: `pinned` first, then the others in ascending order.
pub(crate) fn with(pinned: usize, len: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    let others: Vec<usize> = (0..len).filter(|index| *index != pinned).collect();
    let free = size.saturating_sub(1);
    // Positions in `others`, counted up like digits that stay in ascending order.
    let mut next = (size > 0 && pinned < len && free <= others.len()).then(|| (0..free).collect::<Vec<usize>>());
    std::iter::from_fn(move || {
        let positions = next.take()?;
        let chosen = positions.iter().filter_map(|position| others.get(*position));
        let combination = std::iter::once(pinned).chain(chosen.copied()).collect();
        next = advance(positions, others.len());
        Some(combination)
    })
}

fn advance(mut positions: Vec<usize>, len: usize) -> Option<Vec<usize>> {
    let free = positions.len();
    let turn = (0..free).rev().find(|digit| positions.get(*digit).is_some_and(|position| position + (free - digit) < len))?;
    let start = positions.get(turn)? + 1;
    for (position, value) in positions.iter_mut().skip(turn).zip(start..) {
        *position = value;
    }
    Some(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_every_subset_with_the_pinned_one_once() {
        let cases: [(usize, usize, usize, Vec<Vec<usize>>); 6] = [
            (2, 3, 2, vec![vec![2, 0], vec![2, 1]]),
            (1, 4, 3, vec![vec![1, 0, 2], vec![1, 0, 3], vec![1, 2, 3]]),
            (0, 1, 1, vec![vec![0]]),
            (0, 1, 2, vec![]),
            (5, 3, 2, vec![]),
            (0, 3, 0, vec![]),
        ];
        for (pinned, len, size, want) in cases {
            assert_eq!(with(pinned, len, size).collect::<Vec<_>>(), want, "{pinned} in {size} of {len}");
        }
        assert_eq!(with(3, 16, 8).count(), 6435); // C(15, 7)
    }
}
