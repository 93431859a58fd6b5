//! Figures of rounds, and tables of them.

/// One target's figures in one round.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    /// What is better when greater: transactions or megabytes a second.
    pub(crate) rate: f64,
    /// Milliseconds, where it has them.
    pub(crate) latency: Option<(f64, f64)>,
    /// Processor time of the proxy, microseconds a unit; none for no proxy.
    pub(crate) cpu: Option<f64>,
}

/// The middle value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints the table of one measurement: a row a target, the first being what the others are compared
/// with, round by round.
pub(crate) fn print(title: &str, rate: &str, cpu: &str, rows: &[(&str, Vec<Figures>)]) {
    let latency = rows.iter().any(|(_, rounds)| rounds.iter().any(|one| one.latency.is_some()));
    println!("#### {title}\n");
    let columns = if latency { " p50 ms (of direct) | p99 ms (of direct) |" } else { "" };
    println!("| target | {rate} median (min–max) | of direct |{columns} {cpu} |");
    println!("|---|---|---|{} ---|", if latency { "---|---|" } else { "" });
    let Some((_, direct)) = rows.first() else { return };
    for (name, rounds) in rows {
        let rates: Vec<f64> = rounds.iter().map(|one| one.rate).collect();
        let (min, max) = rates.iter().fold((f64::MAX, 0.0), |(a, b), &r| (r.min(a), r.max(b)));
        let ratio = median(rounds.iter().zip(direct).map(|(a, b)| a.rate / b.rate).collect());
        print!("| {name} | {:.0} ({min:.0}–{max:.0}) | {ratio:.2} |", median(rates));
        if latency {
            for pick in [|l: (f64, f64)| l.0, |l: (f64, f64)| l.1] {
                let of = |rounds: &[Figures]| -> Vec<f64> {
                    rounds.iter().filter_map(|one| one.latency.map(pick)).collect()
                };
                let ratios = of(rounds).into_iter().zip(of(direct)).map(|(a, b)| a / b).collect();
                print!(" {:.3} ({:.2}) |", median(of(rounds)), median(ratios));
            }
        }
        let cpus: Vec<f64> = rounds.iter().filter_map(|one| one.cpu).collect();
        if cpus.is_empty() {
            println!(" – |");
        } else {
            println!(" {:.1} |", median(cpus));
        }
    }
    println!();
}
