//! A transaction drawn at random: its statements, and what they change if it commits.

use std::ops::Range;

use super::super::random::Random;
use super::journal::{Journal, Kind, Step};
use super::piece::MARKER;

/// The tables that all writers insert into.
const COMMON: [&str; 3] = ["narrow", "plain", "broad"];
/// The table of rows that may be larger than a batch.
const HUGE: &str = "huge";

/// A writer's own table grows no wider: each column makes every later record longer.
const MAX_EXTRA_COLUMNS: u32 = 12;
/// A writer's own tables are updated by a list of rows, which is not to grow for ever.
const MAX_SIDE_ROWS: usize = 400;
const MAX_DEPTH: u32 = 3;

/// How long the text of a row is, so that it can be checked without being kept.
pub fn text_len(table: &str, row: i64) -> usize {
    usize::try_from(row * 7919 % text_limit(table)).expect("rows are counted from 1")
}

/// Rows whose numbers differ by a multiple of it have texts of one length.
pub fn text_limit(table: &str) -> i64 {
    match table {
        "narrow" => 17,
        "plain" => 251,
        "broad" => 2503,
        HUGE => 1_500_007,
        _ => 61,
    }
}

/// The names of the tables of so many writers.
pub fn tables(writers: usize) -> Vec<String> {
    let own = (0..writers).flat_map(|writer| [side_table(writer, 0), side_table(writer, 1)]);
    let names = [MARKER].into_iter().chain(COMMON).chain([HUGE]);
    names.map(str::to_owned).chain(own).collect()
}

/// Makes these tables.
pub fn definitions(writers: usize) -> String {
    let tables = tables(writers).into_iter().map(|name| match &*name {
        MARKER => format!("CREATE TABLE {name} (id int8 PRIMARY KEY, writer int4)"),
        _ => format!("CREATE TABLE {name} (id int8 PRIMARY KEY, body text)"),
    });
    tables.collect::<Vec<_>>().join("; ")
}

fn side_table(writer: usize, which: usize) -> String {
    format!("side_{writer}_{which}")
}

/// A statement, and how it is sent.
#[derive(Debug)]
pub enum Statement {
    Sql(String),
    /// COPY of rows into a table.
    Copy(&'static str, Range<i64>),
}

impl Statement {
    /// Rows as the follower expects them.
    pub fn insert(table: &str, rows: &Range<i64>) -> Statement {
        let (first, last, limit) = (rows.start, rows.end - 1, text_limit(table));
        Statement::Sql(format!(
            "INSERT INTO {table} (id, body) SELECT id, repeat('x', (id * 7919 % {limit})::int4) \
             FROM generate_series({first}::int8, {last}) id"
        ))
    }
}

/// What a writer knows of its own two tables.
#[derive(Clone, Debug, Default)]
pub struct Side {
    rows: [Vec<i64>; 2],
    extra_columns: [u32; 2],
}

/// A transaction.
#[derive(Debug)]
pub struct Plan {
    pub statements: Vec<Statement>,
    /// What the topic is to have of it.
    pub steps: Vec<Step>,
    /// The writer's own tables after it has committed.
    pub side: Side,
    /// Whether it is rolled back in the end.
    pub is_rolled_back: bool,
}

struct Draft<'a> {
    random: &'a mut Random,
    journal: &'a Journal,
    writer: usize,
    savepoints: u32,
    plan: Plan,
}

impl Plan {
    pub fn draw(random: &mut Random, journal: &Journal, writer: usize, side: &Side) -> Plan {
        let pieces = random.between(1..=4);
        let is_rolled_back = random.one_in(15);
        let mut draft = Draft {
            random,
            journal,
            writer,
            savepoints: 0,
            plan: Plan {
                statements: Vec::new(),
                steps: Vec::new(),
                side: side.clone(),
                is_rolled_back,
            },
        };
        for _ in 0..pieces {
            draft.piece(0);
        }
        draft.plan
    }

    /// How many changes it makes, the marker included.
    pub fn changes(&self) -> u64 {
        let changes: usize = self.steps.iter().map(Step::changes).sum();
        1 + changes as u64
    }
}

#[derive(Clone, Copy)]
enum Piece {
    Insert,
    Copy,
    Huge,
    SideInsert,
    SideUpdate,
    SideRekey,
    SideDelete,
    Truncate,
    AddColumn,
    UndoneSavepoint,
    KeptSavepoint,
}

impl Draft<'_> {
    fn piece(&mut self, depth: u32) {
        let piece = self.random.weighted(&[
            (240, Piece::Insert),
            (100, Piece::Copy),
            (3, Piece::Huge),
            (80, Piece::SideInsert),
            (50, Piece::SideUpdate),
            (20, Piece::SideRekey),
            (30, Piece::SideDelete),
            (8, Piece::Truncate),
            (3, Piece::AddColumn),
            (30, Piece::UndoneSavepoint),
            (30, Piece::KeptSavepoint),
        ]);
        let which = self.random.below(2) as usize;
        match piece {
            Piece::Insert => self.insert(),
            Piece::Copy => {
                let (table, count) = (self.random.pick(&COMMON), self.count());
                let rows = self.journal.take_rows(count);
                self.statement(Statement::Copy(table, rows.clone()));
                self.step(Kind::Insert, table, rows.collect());
            }
            Piece::Huge => self.insert_into(HUGE.to_owned(), 1),
            Piece::SideInsert => self.side_insert(which),
            Piece::SideUpdate => self.side_update(which),
            Piece::SideRekey => self.side_rekey(which),
            Piece::SideDelete => self.side_delete(which),
            Piece::Truncate => self.truncate(which),
            Piece::AddColumn => self.add_column(which),
            Piece::UndoneSavepoint | Piece::KeptSavepoint if depth >= MAX_DEPTH => self.insert(),
            Piece::UndoneSavepoint => {
                let (steps, side) = (self.plan.steps.len(), self.plan.side.clone());
                let name = self.savepoint(depth);
                self.sql(format!("ROLLBACK TO {name}"));
                self.plan.steps.truncate(steps);
                self.plan.side = side;
            }
            Piece::KeptSavepoint => {
                let name = self.savepoint(depth);
                self.sql(format!("RELEASE {name}"));
            }
        }
    }

    /// Mostly a few, sometimes a few hundred, now and then thousands.
    fn count(&mut self) -> u64 {
        let range = self.random.weighted(&[
            (600, 1..=6),
            (250, 7..=80),
            (40, 81..=500),
            (10, 1000..=6000),
        ]);
        self.random.between(range)
    }

    fn savepoint(&mut self, depth: u32) -> String {
        self.savepoints += 1;
        let name = format!("s{}", self.savepoints);
        self.sql(format!("SAVEPOINT {name}"));
        for _ in 0..self.random.between(1..=3) {
            self.piece(depth + 1);
        }
        name
    }

    fn insert(&mut self) {
        let (table, count) = (self.random.pick(&COMMON), self.count());
        self.insert_into(table.to_owned(), count);
    }

    fn insert_into(&mut self, table: String, count: u64) {
        let rows = self.journal.take_rows(count);
        self.statement(Statement::insert(&table, &rows));
        self.step(Kind::Insert, table, rows.collect());
    }

    fn side_insert(&mut self, which: usize) {
        if self.plan.side.rows[which].len() > MAX_SIDE_ROWS {
            return self.side_delete(which);
        }
        let count = self.random.between(1..=30);
        self.insert_into(side_table(self.writer, which), count);
        let rows = &self.plan.steps.last().expect("the insert").rows;
        self.plan.side.rows[which].extend(rows);
    }

    fn side_update(&mut self, which: usize) {
        let Some(rows) = self.some_side_rows(which) else {
            return self.side_insert(which);
        };
        let table = side_table(self.writer, which);
        self.sql(format!(
            "UPDATE {table} SET body = body || 'y' WHERE id = ANY ('{}')",
            array(&rows)
        ));
        self.step(Kind::Update, table, rows);
    }

    /// Gives rows other keys.
    fn side_rekey(&mut self, which: usize) {
        let Some(old_rows) = self.some_side_rows(which) else {
            return self.side_insert(which);
        };
        let table = side_table(self.writer, which);
        let rows: Vec<i64> = self.journal.take_rows(old_rows.len() as u64).collect();
        self.sql(format!(
            "UPDATE {table} SET id = new FROM unnest('{}'::int8[], '{}'::int8[]) AS r (old, new) \
             WHERE id = old",
            array(&old_rows),
            array(&rows)
        ));
        let own = &mut self.plan.side.rows[which];
        own.retain(|row| !old_rows.contains(row));
        own.extend(&rows);
        self.plan.steps.push(Step::rekey(table, old_rows, rows));
    }

    fn side_delete(&mut self, which: usize) {
        let Some(rows) = self.some_side_rows(which) else {
            return self.side_insert(which);
        };
        let table = side_table(self.writer, which);
        self.sql(format!(
            "DELETE FROM {table} WHERE id = ANY ('{}')",
            array(&rows)
        ));
        self.plan.side.rows[which].retain(|row| !rows.contains(row));
        self.step(Kind::Delete, table, rows);
    }

    fn some_side_rows(&mut self, which: usize) -> Option<Vec<i64>> {
        let rows = &self.plan.side.rows[which];
        let first = self.random.below(rows.len().max(1) as u64) as usize;
        let count = self.random.between(1..=60) as usize;
        let some: Vec<i64> = rows.iter().skip(first).take(count).copied().collect();
        (!some.is_empty()).then_some(some)
    }

    fn truncate(&mut self, which: usize) {
        let both = self.random.one_in(3);
        let whiches = if both { 0..2 } else { which..which + 1 };
        let tables: Vec<String> = whiches
            .clone()
            .map(|which| side_table(self.writer, which))
            .collect();
        for which in whiches {
            self.plan.side.rows[which].clear();
        }
        let tables = tables.join(",");
        self.sql(format!("TRUNCATE {tables}"));
        self.step(Kind::Truncate, tables, Vec::new());
    }

    /// The table is described anew before its next row.
    fn add_column(&mut self, which: usize) {
        let count = &mut self.plan.side.extra_columns[which];
        if *count < MAX_EXTRA_COLUMNS {
            *count += 1;
            let column = format!("extra_{count}");
            let table = side_table(self.writer, which);
            self.sql(format!("ALTER TABLE {table} ADD COLUMN {column} int4"));
        }
        self.side_insert(which);
    }

    fn sql(&mut self, sql: String) {
        self.statement(Statement::Sql(sql));
    }

    fn statement(&mut self, statement: Statement) {
        self.plan.statements.push(statement);
    }

    fn step(&mut self, kind: Kind, table: impl Into<String>, rows: Vec<i64>) {
        self.plan.steps.push(Step::new(kind, table, rows));
    }
}

/// The array as SQL writes it.
fn array(rows: &[i64]) -> String {
    let rows: Vec<String> = rows.iter().map(i64::to_string).collect();
    format!("{{{}}}", rows.join(","))
}
