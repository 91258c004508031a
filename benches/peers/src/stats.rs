//! Medians, quartiles and percentiles.

#[derive(Clone, Copy)]
pub struct Stats {
    /// The 10th percentile, which other load on the machine changes least.
    pub p10: f64,
    pub quartiles: (f64, f64),
    pub median: f64,
    pub p99: f64,
}

impl Stats {
    /// `None` if there are no values.
    pub fn new(mut values: Vec<f64>) -> Option<Stats> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let quantile = |fraction: f64| values[(last as f64 * fraction).round() as usize];
        Some(Stats {
            p10: quantile(0.1),
            quartiles: (quantile(0.25), quantile(0.75)),
            median: quantile(0.5),
            p99: quantile(0.99),
        })
    }
}
