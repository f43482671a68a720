//! Names of queues and namespaces.

use crate::limits::NAME_BYTES_MAX;

/// Checks a name; `what` says whose, for the message.
///
/// # Errors
/// The text says which rule was broken.
pub fn check(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("{what} is empty: give it 1 to {NAME_BYTES_MAX} bytes of UTF-8"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("{what} has {} bytes: at most {NAME_BYTES_MAX} are allowed", name.len()));
    }
    if let Some(position) = name.find(char::is_control) {
        return Err(format!("{what} has a control character at byte {position}: none is allowed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_255_bytes_is_allowed_and_one_of_256_is_not() {
        assert_eq!(check("name", &"n".repeat(255)), Ok(()));
        assert!(check("name", &"n".repeat(256)).unwrap_err().contains("256 bytes"));
        assert_eq!(check("name", &"é".repeat(127)), Ok(()));
        assert!(check("name", &"é".repeat(128)).is_err(), "bytes count, not characters");
    }

    #[test]
    fn an_empty_name_and_control_characters_are_refused() {
        assert!(check("name", "").unwrap_err().contains("empty"));
        for bad in ["a\nb", "\0", "tab\t", "del\u{7f}", "c1\u{85}"] {
            assert!(check("name", bad).unwrap_err().contains("control character"), "{bad:?}");
        }
    }

    #[test]
    fn everything_else_is_a_name() {
        for good in ["a", "Ärger mit Leerzeichen", "orders.*.eu/#", "日本語", "..", " "] {
            assert_eq!(check("name", good), Ok(()), "{good:?}");
        }
    }
}
