//! A line of assembly as words, numbers and signs.

/// A word, a number or a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'text> {
    /// Letters, digits, `_` and `.`, not starting with a digit.
    Word(&'text str),
    /// Decimal or hexadecimal, without its sign.
    Number(i128),
    /// One of [`SIGNS`].
    Sign(&'static str),
}

/// Every sign; one that another begins with comes after it.
const SIGNS: [&str; 38] = [
    "s>>=", "s>=", "s<=", "s/=", "s%=", "s>", "s<", "<<=", ">>=", "+=", "-=", "*=", "/=", "|=",
    "&=", "%=", "^=", "==", "!=", ">=", "<=", ">", "<", "=", "&", "+", "-", "*", "(", ")", "[",
    "]", ",", "#", "@", ":", "!", "|",
];

/// What is wrong with a line: where it is noticed, and what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Bytes into the text that is read.
    pub(super) at: usize,
    /// One sentence.
    pub(super) message: String,
    /// What to write instead, if we know.
    pub(super) help: Option<String>,
}

pub(super) type Read<T> = Result<T, Wrong>;

/// Says what is wrong, and where.
pub(super) fn wrong_at(at: usize, message: impl Into<String>) -> Wrong {
    Wrong {
        at,
        message: message.into(),
        help: None,
    }
}

/// The tokens of a line, read one by one.
#[derive(Debug)]
pub(super) struct Line<'text> {
    tokens: Vec<(Token<'text>, usize)>,
    next: usize,
    end: usize,
}

impl<'text> Line<'text> {
    /// Takes a line apart.
    pub(super) fn new(text: &'text str) -> Read<Self> {
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let blank = rest.len() - rest.trim_start().len();
            if blank > 0 {
                at += blank;
                continue;
            }
            let (token, length) = token(rest).map_err(|message| wrong_at(at, message))?;
            tokens.push((token, at));
            at += length;
        }
        Ok(Self {
            tokens,
            next: 0,
            end: text.trim_end().len(),
        })
    }

    /// The next token, left in place.
    pub(super) fn peek(&self) -> Option<Token<'text>> {
        self.tokens.get(self.next).map(|(token, _)| *token)
    }

    /// The one after it.
    pub(super) fn second(&self) -> Option<Token<'text>> {
        self.tokens.get(self.next + 1).map(|(token, _)| *token)
    }

    /// The next token, taken.
    pub(super) fn next(&mut self) -> Option<Token<'text>> {
        let token = self.peek();
        self.next += usize::from(token.is_some());
        token
    }

    /// Where the next token starts; at the end, where the line ends.
    pub(super) fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(_, at)| *at)
    }
}

/// The first token of a text that does not start with a blank, and its length.
fn token(text: &str) -> Result<(Token<'_>, usize), String> {
    if let Some(sign) = SIGNS.iter().find(|sign| text.starts_with(**sign)) {
        return Ok((Token::Sign(sign), sign.len()));
    }
    let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let length = text.find(|c| !is_inside(c)).unwrap_or(text.len());
    let word = &text[..length];
    match word.chars().next() {
        None => {
            let strange = text.chars().next().unwrap_or_default();
            Err(format!("`{}` means nothing here", strange.escape_debug()))
        }
        Some(first) if first.is_ascii_digit() => {
            let number = match word.strip_prefix("0x") {
                Some(digits) => i128::from_str_radix(digits, 16),
                None => word.parse(),
            };
            let number = number.map_err(|_| format!("`{word}` is not a number"))?;
            Ok((Token::Number(number), length))
        }
        Some(_) => Ok((Token::Word(word), length)),
    }
}
