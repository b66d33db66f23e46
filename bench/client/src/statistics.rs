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

/// The order in which competitors take their turns: another one begins in each round, and every
/// second time they go backwards, so that nobody always follows the same one.
pub fn turns(competitors: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..competitors).map(|i| (i + round) % competitors).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}
