//! How values on the command line and in files are read.

use std::time::{Duration, SystemTime};

use phalanx_client::Place;

/// Reads `NAME=VALUE`.
pub fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Reads `250ms`, `30s`, `5m`, `12h`, `7d` as milliseconds; a bare number is seconds.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let (number, unit) = number_and_unit(text);
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("unknown unit {unit:?}: use ms, s, m, h or d")),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number such as 30s".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too long".to_owned())
}

/// Reads `1048576`, `64KiB`, `8GiB` or `10MB` as bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = number_and_unit(text);
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        unit => return Err(format!("unknown unit {unit:?}: use KiB, MiB, GiB, KB, MB or GB")),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number such as 64KiB".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

/// Reads a place of a topic's log: `earliest`, `latest`, a sequence, how long ago, `unix:SECONDS` or `mark:NAME`.
pub fn place(text: &str) -> Result<Place, String> {
    let expected = || {
        "expected earliest, latest, a sequence, how long ago (such as 15m), unix:SECONDS or mark:NAME"
            .to_owned()
    };
    if let Some(name) = text.strip_prefix("mark:").filter(|name| !name.is_empty()) {
        return Ok(Place::Mark(name.to_owned()));
    }
    if let Some(seconds) = text.strip_prefix("unix:") {
        let seconds: u64 = seconds.parse().map_err(|_| expected())?;
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        return time.map(Place::Time).ok_or_else(|| "too far away".to_owned());
    }
    match text {
        "earliest" => Ok(Place::Earliest),
        "latest" => Ok(Place::Latest),
        _ => match text.parse() {
            Ok(sequence) => Ok(Place::Sequence(sequence)),
            Err(_) => {
                let ago = duration_ms(text).map_err(|_| expected())?;
                let time = SystemTime::now().checked_sub(Duration::from_millis(ago));
                Ok(Place::Time(time.unwrap_or(SystemTime::UNIX_EPOCH)))
            }
        },
    }
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_their_units() {
        assert_eq!(duration_ms("250ms"), Ok(250));
        assert_eq!(duration_ms("30s"), Ok(30_000));
        assert_eq!(duration_ms("30"), Ok(30_000));
        assert_eq!(duration_ms("12h"), Ok(43_200_000));
        assert!(duration_ms("5 parsecs").is_err());
        assert!(duration_ms("").is_err());
        assert!(duration_ms("99999999999999999999d").is_err());
    }

    #[test]
    fn sizes_read_their_units() {
        assert_eq!(bytes("1048576"), Ok(1 << 20));
        assert_eq!(bytes("8GiB"), Ok(8 << 30));
        assert_eq!(bytes("10 MB"), Ok(10_000_000));
        assert!(bytes("10 megs").is_err());
        assert!(bytes("20000000TiB").is_err());
    }

    #[test]
    fn places_are_told_apart() {
        assert_eq!(place("earliest"), Ok(Place::Earliest));
        assert_eq!(place("latest"), Ok(Place::Latest));
        assert_eq!(place("17"), Ok(Place::Sequence(17)));
        assert_eq!(place("mark:a"), Ok(Place::Mark("a".to_owned())));
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        assert_eq!(place("unix:1"), Ok(Place::Time(second)));
        let Ok(Place::Time(time)) = place("15m") else { panic!("it is how long ago") };
        let ago = SystemTime::now().duration_since(time).unwrap();
        assert!(ago >= Duration::from_secs(15 * 60) && ago < Duration::from_secs(16 * 60));
        for wrong in ["", "mark:", "unix:x", "yesterday", "5 parsecs"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_need_a_name() {
        assert_eq!(header("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(header("=b").is_err());
        assert!(header("a").is_err());
    }
}
