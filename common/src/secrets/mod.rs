//! Secrets: the values that instances get and nobody else sees. Here are their names, values and
//! the lines they are written in; `source` gets them from the operator's file and command,
//! `hiding` keeps them out of everything that is shown or stored.

mod hiding;
mod source;

use std::collections::BTreeMap;

use hiding::Disguise;

/// Names and values of secrets. `Debug` shows the names only.
#[derive(Clone, Default)]
pub struct Secrets {
    values: BTreeMap<String, String>,
    /// What to look for in a text, longest first.
    disguises: Vec<Disguise>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Secrets {
    /// Reads `NAME=value` lines; `#` comments, blank lines, `export ` and quotes are understood.
    ///
    /// # Errors
    /// The number of a line that has no name; its text is never quoted.
    pub fn parse(text: &str) -> Result<Self, usize> {
        let mut values = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = parse_line(line).ok_or(number + 1)?;
            values.insert(name, value);
        }
        Ok(Self { disguises: hiding::disguises_of(&values), values })
    }

    /// Name and value pairs, for an instance's environment only.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The names alone.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Takes the other's values in; of two values of one name both stay hidden.
    pub fn merge(&mut self, other: &Self) {
        self.values.extend(other.values.clone());
        self.disguises.extend(other.disguises.iter().cloned());
        hiding::sort(&mut self.disguises);
    }
}

fn parse_line(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    let name = name.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if value.contains('\0')
        || name.is_empty()
        || name.starts_with(|c: char| c.is_ascii_digit())
        || !name.chars().all(valid)
    {
        return None;
    }
    let value = value.trim();
    let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some((name.to_owned(), bare.unwrap_or(value).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_shells_write_them() {
        let text = "# c\nexport A=\"sentinel-1\"\nB='x y=z'\n\nC=aGk=\nD=it's\nE=\n";
        let secrets = Secrets::parse(text).unwrap();
        let pairs: Vec<_> = secrets.pairs().collect();
        assert_eq!(pairs, [("A", "sentinel-1"), ("B", "x y=z"), ("C", "aGk="), ("D", "it's"), ("E", "")]);
        assert!(!format!("{secrets:?}").contains("sentinel"));
    }

    #[test]
    fn a_line_that_no_environment_can_hold_is_named_by_number() {
        for bad in ["A=1\nhunter2\n", "\n1A=x", "\n=x", "\nA B=x", "\nA=x\0y"] {
            assert_eq!(Secrets::parse(bad).unwrap_err(), 2, "{bad:?}");
        }
    }
}
