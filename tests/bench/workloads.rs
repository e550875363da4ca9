//! What is written to the database.

use std::fmt::Write as _;

use crate::Result;
use crate::support::postgres::Database;

/// Writing a workload takes a minute or two, also where the machine is slow.
const WRITE_TIMEOUT: &str = "SET statement_timeout = '30min'";

/// A table of six columns, as most have.
pub const NARROW: &str = "id int8 PRIMARY KEY, code text, amount numeric, flag bool, \
                      at timestamptz, note varchar(60)";

/// A row of it.
pub const NARROW_ROW: &str = "i, left(md5(i::text), 20), (i * 7919 % 10000000)::numeric / 100, \
                          i % 2 = 0, timestamptz '2024-01-01 00:00:00.25+00' + i * interval '1s', \
                          rpad(md5(i::text), 60, 'the note of a row ')";

/// The columns of the wide table besides its key: each type three times. `i` is the number of the
/// row, `{k}` that of the column.
const MIXED: [(&str, &str); 13] = [
    ("int4", "(i * {k} % 1000000)::int4"),
    ("int8", "i * 1000003 + {k}"),
    ("int2", "((i + {k}) % 1000)::int2"),
    ("numeric(16,4)", "(i * {k})::numeric / 7"),
    ("bool", "i % {k} = 0"),
    (
        "timestamptz",
        "timestamptz '2024-01-01 00:00+00' + i * {k} * interval '1s'",
    ),
    ("date", "date '2000-01-01' + ((i + {k}) % 9000)::int4"),
    (
        "text",
        "nullif('value ' || i || ' of ' || {k}, 'value 1 of 1')",
    ),
    ("varchar(30)", "left(md5(i::text), 20)"),
    ("float8", "i / 3.0::float8"),
    ("uuid", "md5((i + {k})::text)::uuid"),
    ("jsonb", "jsonb_build_object('row', i, 'column', {k})"),
    ("int8[]", "ARRAY[i, {k}, i + {k}]"),
];

/// One kind of load.
#[derive(Clone, Debug)]
pub struct Workload {
    pub name: &'static str,
    pub what: &'static str,
    rows: u64,
    rows_per_transaction: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Insert,
    Update,
    InsertWide,
}

/// What a slot has to deliver.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub rows: u64,
    pub transactions: u64,
    /// Everything was written before this position.
    pub end: u64,
}

impl Workload {
    /// All of them.
    pub fn all() -> Vec<Workload> {
        let workload = |name, what, rows, rows_per_transaction, kind| Workload {
            name,
            what,
            rows,
            rows_per_transaction,
            kind,
        };
        vec![
            workload(
                "W1",
                "inserts of 6 columns, 100 a transaction",
                1_000_000,
                100,
                Kind::Insert,
            ),
            workload(
                "W2",
                "updates under REPLICA IDENTITY FULL, 100 a transaction",
                300_000,
                100,
                Kind::Update,
            ),
            workload(
                "W3",
                "inserts in one transaction",
                2_000_000,
                u64::MAX,
                Kind::Insert,
            ),
            workload("W4", "transactions of one insert", 200_000, 1, Kind::Insert),
            workload(
                "W5",
                "inserts of 40 mixed columns and a text of 4 kB, 100 a transaction",
                100_000,
                100,
                Kind::InsertWide,
            ),
        ]
    }

    /// One row: what is left is the start, and seeing that the end is reached. A small workload takes
    /// little more.
    pub fn start() -> Workload {
        Workload {
            name: "start",
            what: "one row",
            rows: 1,
            rows_per_transaction: 1,
            kind: Kind::Insert,
        }
    }

    /// Inserts of 6 columns. The rows are whole transactions.
    pub fn inserts(rows: u64, rows_per_transaction: u64) -> Workload {
        Workload {
            name: "inserts",
            what: "inserts of 6 columns",
            rows,
            rows_per_transaction,
            kind: Kind::Insert,
        }
    }

    /// The same with more or fewer rows.
    pub fn scaled(mut self, scale: f64) -> Workload {
        let rows = (self.rows as f64 * scale) as u64;
        self.rows_per_transaction = self.rows_per_transaction.min(rows.max(1));
        // Whole transactions.
        let transactions = (rows / self.rows_per_transaction).max(1);
        self.rows = transactions * self.rows_per_transaction;
        self
    }

    /// How many rows are read.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Makes the table, and what is in it before the slots are made.
    pub fn prepare(&self, database: &Database) -> Result<()> {
        let mut sql = match self.kind {
            Kind::Insert | Kind::Update => format!("CREATE TABLE load ({NARROW});"),
            Kind::InsertWide => wide_table(),
        };
        if self.kind == Kind::Update {
            sql.push_str("ALTER TABLE load REPLICA IDENTITY FULL;");
            sql.push_str(&insert(NARROW_ROW, 1, self.rows));
        }
        write(database, &sql)
    }

    /// Writes the rows, and waits until the WAL has them.
    pub fn write(&self, database: &Database) -> Result<Written> {
        let (first, last) = ("t * n + 1", "(t + 1) * n");
        let statement = match self.kind {
            Kind::Insert => insert(NARROW_ROW, first, last),
            Kind::InsertWide => insert(&wide_row(), first, last),
            Kind::Update => format!(
                "UPDATE load SET amount = amount + 1, flag = NOT flag, note = left(note, 50) \
                 WHERE id BETWEEN {first} AND {last};"
            ),
        };
        let n = self.rows_per_transaction;
        let transactions = self.rows / n;
        write(
            database,
            &format!(
                "DO $$ DECLARE n CONSTANT int8 := {n}; BEGIN \
                 FOR t IN 0..{transactions} - 1 LOOP {statement} COMMIT; END LOOP; END $$"
            ),
        )?;
        Ok(Written {
            rows: self.rows,
            transactions,
            end: flushed(database)?,
        })
    }
}

/// Waits until the WAL has what was written, and says where that ends.
pub fn flushed(database: &Database) -> Result<u64> {
    // A walsender sends what is flushed; a synchronous commit flushes all before it.
    database.execute(
        "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'bench', 'end')",
    );
    let end = database.query_one_text("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn");
    end.parse().map_err(|_| format!("no position: {end}"))
}

/// Runs statements that may take minutes.
pub fn write(database: &Database, sql: &str) -> Result<()> {
    let mut client = database.client();
    client
        .batch_execute(WRITE_TIMEOUT)
        .and_then(|()| client.batch_execute(sql))
        .map_err(|error| format!("{error:?} in: {sql}"))
}

fn insert(row: &str, first: impl std::fmt::Display, last: impl std::fmt::Display) -> String {
    format!("INSERT INTO load SELECT {row} FROM generate_series({first}, {last}::int8) i;")
}

/// The text goes out of line as it is: were it compressed, the server would unpack it for each
/// reader, and that would hide the readers.
fn wide_table() -> String {
    let mut columns = String::from("id int8 PRIMARY KEY");
    for (k, (kind, _)) in mixed() {
        write!(columns, ", c{k} {kind}").expect("a string takes it");
    }
    format!(
        "CREATE TABLE load ({columns}, body text); ALTER TABLE load ALTER body SET STORAGE EXTERNAL;"
    )
}

fn wide_row() -> String {
    let mut row = String::from("i");
    for (k, (_, value)) in mixed() {
        let value = value.replace("{k}", &k.to_string());
        write!(row, ", {value}").expect("a string takes it");
    }
    row + ", repeat(md5(i::text), 128)"
}

fn mixed() -> impl Iterator<Item = (usize, (&'static str, &'static str))> {
    (1..40).map(|k| (k, MIXED[k % MIXED.len()]))
}
