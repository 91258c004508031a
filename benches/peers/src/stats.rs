//! Medians, quartiles and percentiles.

/// Of several measurements.
#[derive(Clone, Copy)]
pub struct Stats {
    pub median: f64,
    /// Half of the measurements lie between these.
    pub quartiles: (f64, f64),
    pub p99: f64,
}

impl Stats {
    /// `None` of nothing.
    pub fn of(mut values: Vec<f64>) -> Option<Stats> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let quantile = |part: f64| values[(last as f64 * part).round() as usize];
        Some(Stats {
            median: quantile(0.5),
            quartiles: (quantile(0.25), quantile(0.75)),
            p99: quantile(0.99),
        })
    }
}
