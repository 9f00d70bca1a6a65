//! The count rules: the last backups of each series, and the newest of each of its last days, weeks, months and years.

use chrono::{Datelike, NaiveDate};

use super::candidate::Candidate;
use super::last_copies::series;
use super::policy::Policy;
use super::reason::{KeepReasons, Reason};

/// The period of a day, as the reason to keep its newest backup.
type PeriodOf = fn(NaiveDate) -> Reason;

/// Keeps as many backups as the policy counts.
pub(super) fn by_count(past: &[&Candidate], policy: &Policy) -> KeepReasons {
    let periods: [(u32, PeriodOf); 4] = [
        (policy.keep_daily, |date| Reason::Daily { date }),
        (policy.keep_weekly, |date| Reason::Weekly { year: date.iso_week().year(), week: date.iso_week().week() }),
        (policy.keep_monthly, |date| Reason::Monthly { year: date.year(), month: date.month() }),
        (policy.keep_yearly, |date| Reason::Yearly { year: date.year() }),
    ];
    let count = policy.keep_last;
    let mut keeps = KeepReasons::new();
    for holders in series(past, |it| &it.holds).values() {
        let counted: Vec<_> = holders.iter().filter(|it| it.is_counted()).collect();
        keeps.extend(counted.iter().take(count as usize).map(|it| (it.id, Reason::Last { count })));
        for (count, period) in periods {
            // Backups of one period are neighbours with equal reasons; the first of them is the newest.
            let mut newest: KeepReasons = counted.iter().map(|it| (it.id, period(it.at.date_naive()))).collect();
            newest.dedup_by(|older, newer| older.1 == newer.1);
            keeps.extend(newest.into_iter().take(count as usize));
        }
    }
    keeps
}
