//! Reading tables of fields. `apps.txt` says how they are written.

use serde_json::{Map, Value};

/// What rows are laid over: the smallest body that is right, and what it is a body of.
pub(super) struct Block {
    pub(super) kind: Kind,
    pub(super) body: Value,
    pub(super) rows: Vec<Row>,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    App,
    Pod,
}

/// One field, or, with the path `/`, what a body has beside those of its block.
pub(super) struct Row {
    /// Where the row stands, for who has to mend it.
    pub(super) place: String,
    pub(super) path: String,
    pub(super) default: Option<Shown>,
    pub(super) kept: Vec<(Value, Shown)>,
    pub(super) refused: Vec<Refused>,
}

/// What a GET shows of a field.
#[derive(Debug)]
pub(super) enum Shown {
    Nothing,
    Anything,
    Is(Value),
}

/// A value that is no good; none means that the field is left out.
pub(super) struct Refused {
    pub(super) value: Option<Value>,
    pub(super) status: u16,
    pub(super) path: String,
}

/// All blocks of a table. `name` is where it stands.
pub(super) fn read(name: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let place = format!("{name}:{}", at + 1);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('/') {
            let block = blocks.last_mut().unwrap_or_else(|| panic!("{place}: a row of no block"));
            block.rows.push(row(place, line));
            continue;
        }
        let (kind, body) = line.split_once(' ').unwrap_or_default();
        let kind = match kind {
            "app" => Kind::App,
            "pod" => Kind::Pod,
            _ => panic!("{place}: neither a row nor the beginning of a block"),
        };
        let mut body = body.to_owned();
        while let Some((_, more)) = lines.next_if(|(_, line)| line.starts_with(' ')) {
            body.push_str(more);
        }
        let body = serde_json::from_str(&body).unwrap_or_else(|why| panic!("{place}: {why}"));
        blocks.push(Block { kind, body, rows: Vec::new() });
    }
    blocks
}

fn row(place: String, line: &str) -> Row {
    let mut columns = line.split('|').map(str::trim);
    let path = columns.next().expect("a line that begins with a slash").to_owned();
    let [default, kept, refused] = [(); 3].map(|()| columns.next().unwrap_or_default());
    assert!(columns.next().is_none(), "{place}: more than four columns");
    let default = Words { place: &place, rest: default }.shown();
    let mut given = Words { place: &place, rest: kept };
    let mut kept = Vec::new();
    while let Some(value) = given.value() {
        let shown = if given.take("=>") { given.shown() } else { None };
        let shown = shown.unwrap_or_else(|| Shown::Is(value.clone()));
        kept.push((value, shown));
    }
    let mut given = Words { place: &place, rest: refused };
    let mut refused = Vec::new();
    while !given.is_over() {
        let status = if given.take("!") { 400 } else { 422 };
        let at = given.take("@").then(|| given.word().to_owned());
        let value = if given.take("- ") { None } else { given.value() };
        refused.push(Refused { value, status, path: at.unwrap_or_else(|| path.clone()) });
    }
    Row { place, path, default, kept, refused }
}

/// What is left of a column.
struct Words<'a> {
    place: &'a str,
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn is_over(&self) -> bool {
        self.rest.trim().is_empty()
    }

    fn take(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start();
        // What stands last has no blank behind it.
        let taken = rest.strip_prefix(word).or_else(|| (rest == word.trim_end()).then_some(""));
        self.rest = taken.unwrap_or(rest);
        taken.is_some()
    }

    fn word(&mut self) -> &'a str {
        let (word, rest) = self.rest.split_once(' ').unwrap_or((self.rest, ""));
        self.rest = rest;
        word
    }

    fn value(&mut self) -> Option<Value> {
        if self.is_over() {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<Value>();
        let value = values.next().expect("more than blanks");
        let value = value.unwrap_or_else(|why| panic!("{}: {why} in {}", self.place, self.rest));
        self.rest = &self.rest[values.byte_offset()..];
        Some(value)
    }

    fn shown(&mut self) -> Option<Shown> {
        if self.take("- ") {
            Some(Shown::Nothing)
        } else if self.take("?") {
            Some(Shown::Anything)
        } else {
            self.value().map(Shown::Is)
        }
    }
}

/// `body` with `value` at `path`, or without what is there. Objects and lists on the way are made.
pub(super) fn with(body: &Value, path: &str, value: Option<&Value>) -> Value {
    let mut out = body.clone();
    if path == "/" {
        let given = value.and_then(Value::as_object).expect("an object is laid over the body");
        for (name, value) in given {
            out[name] = value.clone();
        }
        return out;
    }
    let mut at = &mut out;
    let steps = steps(path);
    let (last, parents) = steps.split_last().expect("a path is not empty");
    for step in parents {
        at = step.of(at);
    }
    match (last, value) {
        (last, Some(value)) => *last.of(at) = value.clone(),
        (Step::Member(name), None) => {
            at.as_object_mut().expect("an object").remove(*name);
        }
        (Step::Item(_), None) => panic!("{path}: no item can be left out"),
    }
    out
}

/// What is at `path`.
pub(super) fn at<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path).iter().try_fold(body, |at, step| match step {
        Step::Member(name) => at.get(*name),
        Step::Item(index) => at.get(*index),
    })
}

enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

impl Step<'_> {
    fn of<'v>(&self, value: &'v mut Value) -> &'v mut Value {
        match self {
            Self::Member(name) => {
                if !value.is_object() {
                    *value = Value::Object(Map::new());
                }
                &mut value[*name]
            }
            Self::Item(index) => {
                if !value.is_array() {
                    *value = Value::Array(Vec::new());
                }
                let items = value.as_array_mut().expect("just made");
                items.resize(items.len().max(index + 1), Value::Null);
                &mut items[*index]
            }
        }
    }
}

/// The steps of `/a(0)/b`.
fn steps(path: &str) -> Vec<Step<'_>> {
    let members = path.split('/').skip(1);
    let mut steps = Vec::new();
    for member in members {
        let (name, items) = member.split_once('(').unwrap_or((member, ""));
        if !name.is_empty() {
            steps.push(Step::Member(name));
        }
        let items = items.split('(').filter(|item| !item.is_empty());
        steps.extend(items.map(|item| {
            Step::Item(item.trim_end_matches(')').parse().expect("the number of an item"))
        }));
    }
    steps
}
