//! What many rounds come to.

/// The middle one; of two, their mean.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

/// The order in which competitors take their turns.
///
/// Every second round has the reverse order of the one before, so that of two competitors each is
/// the earlier one equally often. The orders are the rows of a square (E. J. Williams, 1949), in
/// which each begins equally often, and follows each other one equally often.
pub fn turns(competitors: usize, round: usize) -> Vec<usize> {
    // 0, 1, n - 1, 2, n - 2, …: neighbours have all differences. Each row is one further.
    let zigzag = |place: usize| {
        if place % 2 == 1 { place.div_ceil(2) } else { competitors - place / 2 }
    };
    let row = round / 2;
    let mut order: Vec<usize> =
        (0..competitors).map(|place| (zigzag(place) + row) % competitors).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// After so many rounds, all is even.
    fn cycle(competitors: usize) -> usize {
        if competitors.is_multiple_of(2) { competitors } else { 2 * competitors }
    }

    #[test]
    fn each_competitor_begins_equally_often() {
        for competitors in 1..13 {
            let rounds = cycle(competitors);
            let mut begun = vec![0; competitors];
            (0..rounds).for_each(|round| begun[turns(competitors, round)[0]] += 1);
            assert_eq!(begun, vec![rounds / competitors; competitors]);
        }
    }

    #[test]
    fn each_competitor_follows_every_other_equally_often() {
        for competitors in 2..13 {
            let mut followed = HashMap::new();
            for round in 0..cycle(competitors) {
                for pair in turns(competitors, round).windows(2) {
                    *followed.entry((pair[0], pair[1])).or_insert(0) += 1;
                }
            }
            assert_eq!(followed.len(), competitors * (competitors - 1), "{competitors}");
            let often = cycle(competitors) / competitors;
            assert!(followed.values().all(|count| *count == often), "{followed:?}");
        }
    }

    #[test]
    fn of_two_competitors_each_is_the_earlier_one_in_half_of_the_rounds() {
        for competitors in 2..13 {
            for round in (0..40).step_by(2) {
                let mut order = turns(competitors, round);
                order.reverse();
                assert_eq!(order, turns(competitors, round + 1));
            }
        }
    }

    #[test]
    fn everybody_has_a_turn() {
        for competitors in 1..9 {
            for round in 0..20 {
                let mut order = turns(competitors, round);
                order.sort_unstable();
                assert_eq!(order, (0..competitors).collect::<Vec<_>>());
            }
        }
    }
}
