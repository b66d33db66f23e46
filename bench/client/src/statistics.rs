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

/// The order in which competitors take their turns. Another one begins in each round. After each
/// has begun once, the order of the others is reversed, so that nobody always follows the same one.
pub fn turns(competitors: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..competitors).map(|i| (i + round) % competitors).collect();
    if round / competitors % 2 == 1 {
        order[1..].reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_competitor_begins_equally_often() {
        for competitors in 1..9 {
            for rounds in [competitors, 2 * competitors] {
                let mut begun = vec![0; competitors];
                (0..rounds).for_each(|round| begun[turns(competitors, round)[0]] += 1);
                assert_eq!(begun, vec![rounds / competitors; competitors]);
            }
        }
    }

    #[test]
    fn each_competitor_follows_every_other() {
        for competitors in 2..4 {
            let mut pairs = std::collections::HashSet::new();
            for round in 0..2 * competitors {
                pairs.extend(turns(competitors, round).windows(2).map(|pair| (pair[0], pair[1])));
            }
            assert_eq!(pairs.len(), competitors * (competitors - 1));
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
