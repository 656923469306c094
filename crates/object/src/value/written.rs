//! What a text says, before any type is known: words, texts in quotes, lists, members.
//!
//! ```text
//! value   = word | "text" | [ value, ... ] | { member, ... }
//! member  = name = value | name: value | .name = value | value
//! ```

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// A number, a name, an address.
    Word(String),
    /// A text in quotes.
    Text(String),
    /// Values in brackets.
    List(Vec<Self>),
    /// Members in braces; those without a name stand in their places.
    Members(Vec<(Option<String>, Self)>),
}

/// Deepest nesting that is read.
const DEEPEST: u32 = 24;

/// Reads a whole text.
pub(super) fn read(text: &str) -> Result<Written, String> {
    let mut reader = Reader { rest: text.trim() };
    let written = reader.value(DEEPEST)?;
    match reader.rest.trim_start() {
        "" => Ok(written),
        rest => Err(format!("`{}` is left over", shortened(rest))),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self, depth: u32) -> Result<Written, String> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| format!("more than {DEEPEST} brackets are in each other"))?;
        if self.takes('{') {
            return self.members(depth);
        }
        if self.takes('[') {
            let mut elements = Vec::new();
            while !self.takes(']') {
                elements.push(self.value(depth)?);
                self.separator(']')?;
            }
            return Ok(Written::List(elements));
        }
        if self.takes('"') {
            return self.quoted().map(Written::Text);
        }
        let word = self.word(",]}");
        match word.is_empty() {
            true => Err(match self.rest.chars().next() {
                Some(found) => format!("a value is missing before `{found}`"),
                None => "a value is missing at the end".to_owned(),
            }),
            false => Ok(Written::Word(word)),
        }
    }

    fn members(&mut self, depth: u32) -> Result<Written, String> {
        let mut members = Vec::new();
        while !self.takes('}') {
            let name = self.name();
            members.push((name, self.value(depth)?));
            self.separator('}')?;
        }
        Ok(Written::Members(members))
    }

    /// `name =` or `name:`; nothing if what follows is a value.
    fn name(&mut self) -> Option<String> {
        let text = self.rest.trim_start();
        let text = text.strip_prefix('.').unwrap_or(text);
        let end = text.find(|c: char| !(c.is_alphanumeric() || "_()".contains(c)))?;
        let (name, rest) = text.split_at_checked(end)?;
        let rest = rest.trim_start();
        // An IPv6 or MAC address has colons too, but no blank after them, and begins with a digit or is one word.
        let after = match rest.strip_prefix('=') {
            Some(after) => after,
            None => rest
                .strip_prefix(':')
                .filter(|after| !is_address(name, after))?,
        };
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.rest = after;
        Some(name.to_owned())
    }

    fn takes(&mut self, wanted: char) -> bool {
        match self.rest.trim_start().strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A comma, or nothing before the end.
    fn separator(&mut self, end: char) -> Result<(), String> {
        let rest = self.rest.trim_start();
        if self.takes(',') || rest.starts_with(end) {
            return Ok(());
        }
        Err(match rest {
            "" => format!("`{end}` is missing at the end"),
            rest => format!("`,` or `{end}` is missing before `{}`", shortened(rest)),
        })
    }

    fn word(&mut self, ends: &str) -> String {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| ends.contains(c)).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        word.trim_end().to_owned()
    }

    /// The rest of a text in quotes. A backslash takes the next character as it is, or means `\n`, `\t`, `\0`.
    fn quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    self.rest = chars.as_str();
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('0') => text.push('\0'),
                    Some(other) => text.push(other),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err("a `\"` is missing at the end".to_owned())
    }
}

/// Whether `name:after` is the beginning of an address: hex digits, and more of them without a blank in between.
fn is_address(name: &str, after: &str) -> bool {
    let is_hex = name.len() <= 4 && name.chars().all(|c| c.is_ascii_hexdigit());
    let end = after
        .find(|c: char| !c.is_ascii_hexdigit())
        .unwrap_or(after.len());
    is_hex && after.get(end..).is_some_and(|rest| rest.starts_with(':'))
}

fn shortened(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Written {
        Written::Word(text.to_owned())
    }

    #[test]
    fn members_lists_and_texts_are_told_apart() {
        let members =
            read(r#" {src=10.0.0.1, dport: 443, .name = "a,\"b", ids=[1, 2,], 7} "#).unwrap();
        let named = |name: &str, value| (Some(name.to_owned()), value);
        let expected = vec![
            named("src", word("10.0.0.1")),
            named("dport", word("443")),
            named("name", Written::Text("a,\"b".to_owned())),
            named("ids", Written::List(vec![word("1"), word("2")])),
            (None, word("7")),
        ];
        assert_eq!(members, Written::Members(expected));
        assert_eq!(read("fe80::1"), Ok(word("fe80::1")));
        let inside = read("{fe:80:00:00:00:01, ab: 3}").unwrap();
        let expected = vec![(None, word("fe:80:00:00:00:01")), named("ab", word("3"))];
        assert_eq!(inside, Written::Members(expected));
        assert_eq!(read("{}"), Ok(Written::Members(Vec::new())));
    }

    #[test]
    fn what_is_missing_is_said() {
        let wrong = |text: &str| read(text).unwrap_err();
        assert_eq!(wrong(""), "a value is missing at the end");
        assert_eq!(wrong("{a=1"), "`}` is missing at the end");
        assert_eq!(wrong("[1, ,2]"), "a value is missing before `,`");
        assert_eq!(wrong("[1] 2"), "`2` is left over");
        assert_eq!(wrong("\"abc"), "a `\"` is missing at the end");
        assert!(wrong(&"[".repeat(100)).starts_with("more than 24"));
    }
}
