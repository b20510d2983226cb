//! Reads TOML as a tree with places: each value that is taken knows its line, each key that nobody
//! took is a complaint. Knows TOML and places, nothing of what the keys mean.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{Given, Place, Problem, Problems, nearest};

/// A TOML text, and what was found wrong with it so far.
pub(crate) struct Document<'a> {
    file: Arc<str>,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Document<'a> {
    /// The text of the file called `file`.
    pub(crate) fn new(file: &str, text: &'a str) -> Self {
        Self {
            file: file.into(),
            text,
            problems: RefCell::default(),
        }
    }

    /// Parses the text as a whole.
    pub(crate) fn parse(&self) -> Result<Spanned<DeTable<'a>>, Problems> {
        DeTable::parse(self.text).map_err(|error| {
            let place = self.place(&error.span().unwrap_or_default(), "");
            let text = error.message().replace('\n', "; ");
            Problems(vec![Problem { place, text }])
        })
    }

    /// The top level of the parsed text.
    pub(crate) fn top<'t>(&'t self, table: &'t DeTable<'a>) -> Section<'t, 'a> {
        Section {
            document: self,
            path: String::new(),
            span: 0..0,
            table,
            asked: Vec::new(),
        }
    }

    /// Adds a complaint.
    pub(crate) fn complain(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// What was wrong, in the order of the file.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| match problem.place {
            Place::File { line, .. } => line,
            _ => usize::MAX,
        });
        problems
    }

    fn place(&self, span: &Range<usize>, key: &str) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        Place::File {
            file: self.file.clone(),
            line: 1 + before.bytes().filter(|byte| *byte == b'\n').count(),
            key: key.into(),
        }
    }
}

/// A table of the document, read key by key.
pub(crate) struct Section<'t, 'a> {
    document: &'t Document<'a>,
    path: String,
    span: Range<usize>,
    table: &'t DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'t, 'a> Section<'t, 'a> {
    /// Where the table begins.
    pub(crate) fn place(&self) -> Place {
        self.document.place(&self.span, &self.path)
    }

    /// A string.
    pub(crate) fn string(&mut self, key: &'static str) -> Option<Given<String>> {
        let (value, place) = self.take(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(Given {
                value: text.to_owned(),
                place,
            }),
            None => self.mistyped(value, place, "a string"),
        }
    }

    /// A list of strings.
    pub(crate) fn strings(&mut self, key: &'static str) -> Option<Vec<Given<String>>> {
        let (value, place) = self.take(key)?;
        let Some(items) = value.get_ref().as_array() else {
            return self.mistyped(value, place, "a list of strings");
        };
        let mut strings = Vec::new();
        for item in items {
            let place = self.document.place(&item.span(), &self.path_of(key));
            match item.get_ref().as_str() {
                Some(text) => strings.push(Given {
                    value: text.to_owned(),
                    place,
                }),
                None => return self.mistyped(item, place, "a string"),
            }
        }
        Some(strings)
    }

    /// A whole number, not negative.
    pub(crate) fn number(&mut self, key: &'static str) -> Option<Given<u64>> {
        let (value, place) = self.take(key)?;
        let parsed = value
            .get_ref()
            .as_integer()
            .and_then(|digits| u64::from_str_radix(digits.as_str(), digits.radix()).ok());
        match parsed {
            Some(value) => Some(Given { value, place }),
            None => self.mistyped(value, place, "a whole number, not negative"),
        }
    }

    /// True or false.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<Given<bool>> {
        let (value, place) = self.take(key)?;
        match value.get_ref().as_bool() {
            Some(value) => Some(Given { value, place }),
            None => self.mistyped(value, place, "true or false"),
        }
    }

    /// A table within this one.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Section<'t, 'a>> {
        let (value, place) = self.take(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(self.child(key, value.span(), table)),
            None => self.mistyped(value, place, &format!("a table, [{}]", self.path_of(key))),
        }
    }

    /// A list of tables within this one.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Section<'t, 'a>> {
        let Some((value, place)) = self.take(key) else {
            return Vec::new();
        };
        let expected = format!("a list of tables, [[{}]]", self.path_of(key));
        let Some(items) = value.get_ref().as_array() else {
            return self.mistyped(value, place, &expected).unwrap_or_default();
        };
        let mut sections = Vec::new();
        for item in items {
            match item.get_ref().as_table() {
                Some(table) => sections.push(self.child(key, item.span(), table)),
                None => {
                    let place = self.document.place(&item.span(), &self.path_of(key));
                    let _: Option<()> = self.mistyped(item, place, &expected);
                }
            }
        }
        sections
    }

    /// Refuses keys of the design that this version does not have.
    pub(crate) fn refuse(&mut self, keys: &[&'static str], reason: &str) {
        for key in keys {
            if let Some((_, place)) = self.take(key) {
                self.document.complain(Problem {
                    place,
                    text: reason.to_owned(),
                });
            }
        }
    }

    /// Complains about every key that nobody asked for.
    pub(crate) fn finish(self) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let hint = nearest(name, &self.asked).map_or_else(
                || format!("known here: {}", self.asked.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let place = self.document.place(&key.span(), "");
            let here = if self.path.is_empty() {
                "the file".to_owned()
            } else {
                format!("[{}]", self.path)
            };
            // Keys are quoted as TOML escapes them: a key may hold anything.
            let text = format!("unknown key `{}` in {here}; {hint}", name.escape_debug());
            self.document.complain(Problem { place, text });
        }
    }

    fn take(&mut self, key: &'static str) -> Option<(&'t Spanned<DeValue<'a>>, Place)> {
        self.asked.push(key);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((
            value,
            self.document.place(&value.span(), &self.path_of(key)),
        ))
    }

    fn child(&self, key: &str, span: Range<usize>, table: &'t DeTable<'a>) -> Self {
        Self {
            document: self.document,
            path: self.path_of(key),
            span,
            table,
            asked: Vec::new(),
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn mistyped<T>(&self, value: &Spanned<DeValue<'a>>, place: Place, expected: &str) -> Option<T> {
        let found = value.get_ref().type_str();
        self.document.complain(Problem {
            place,
            text: format!("{expected} is expected here, not {found}"),
        });
        None
    }
}
