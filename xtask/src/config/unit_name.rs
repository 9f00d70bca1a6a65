//! Names of units.

/// The rule of [`is_unit_name`].
pub const UNIT_NAMES: &str = "use up to 200 letters, digits, dashes, dots and underscores, without .service or .timer";

/// Whether our units can have this name: `man 5 systemd.unit` allows a few more characters, which need quoting elsewhere.
pub fn is_unit_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ending = name.ends_with(".service") || name.ends_with(".timer");
    (1..=200).contains(&name.len()) && name.chars().all(known) && !name.starts_with(['-', '.']) && !ending
}

/// Whether any unit can have this name: `man 5 systemd.unit`.
pub fn is_any_unit(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.@:\\".contains(c);
    !name.is_empty() && name.chars().all(known) && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_need_no_quoting_are_taken() {
        for good in ["charger-backup", "a", "A_b.c"] {
            assert!(is_unit_name(good), "{good}");
        }
        for bad in ["", "a b", "a@", "../x", "a/b", ".a", "-a", "a%", "é", "a.service", "a.timer"] {
            assert!(!is_unit_name(bad), "{bad}");
        }
    }
}
