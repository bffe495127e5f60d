//! Prints an error with its causes.

use std::error::Error;

/// Prints an error and its causes on one line, `error: cause: cause`.
///
/// A cause that is already the last part of the text is left out: some messages quote their source.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        let is_quoted = text.strip_suffix(&cause).is_some_and(|before| before.is_empty() || before.ends_with(": "));
        if !is_quoted {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            let link: &(dyn Error + 'static) = self.1.as_deref()?;
            Some(link)
        }
    }

    #[test]
    fn chain_prints_each_cause_once() {
        let of = |texts: &[&'static str]| {
            let link = texts.iter().rev().fold(None, |next, text| Some(Box::new(Link(text, next))));
            chain(&link.unwrap())
        };
        assert_eq!(of(&["root"]), "root");
        assert_eq!(of(&["root", "mounting", "fsmount: EIO"]), "root: mounting: fsmount: EIO");
        assert_eq!(of(&["token: not hex", "not hex", "at 3"]), "token: not hex: at 3");
        assert_eq!(of(&["not found", "found"]), "not found: found");
        assert_eq!(of(&["same", "same"]), "same");
    }
}
