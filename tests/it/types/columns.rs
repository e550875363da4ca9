//! The columns of the table of all types, with the values at which something could break.

use super::check::Tag;
use crate::support::postgres::Database;

/// A column, and SQL expressions for what is inserted into it.
pub struct Column {
    pub sql_type: String,
    pub tag: Tag,
    pub values: Vec<String>,
}

/// What the columns below need.
const TYPES: &str = r#"
    CREATE TYPE public.mood AS ENUM ('sad', 'so-so', 'it''s "fine"', '😀');
    CREATE DOMAIN public.small AS int4 CHECK (VALUE < 100);
    CREATE DOMAIN public.word AS text;
    CREATE DOMAIN public.smaller AS public.small CHECK (VALUE < 10);
    CREATE TYPE public.pair AS (n int4, t text, at timestamptz);
    CREATE TYPE public.float_range AS RANGE (subtype = float8);
"#;

/// All columns that this server can have.
pub fn all(database: &Database) -> Vec<Column> {
    database.execute(TYPES);
    let holds = |condition: &str| database.query_one_text(&format!("SELECT {condition}")) == "t";
    let is_since = |major: u32| {
        holds(&format!(
            "current_setting('server_version_num')::int4 >= {major}0000"
        ))
    };
    let mut list = Columns(Vec::new());
    list.numbers(is_since(14));
    list.texts();
    list.times(is_since(17));
    list.others();
    list.several();
    list.of_users();
    // The type is there also in a server that was built without a parser for it.
    if database.try_execute("SELECT '<a/>'::xml").is_ok() {
        list.optional("xml");
    }
    for name in ["xid8", "jsonpath", "int4multirange"] {
        if holds(&format!("to_regtype('{name}') IS NOT NULL")) {
            list.optional(name);
        }
    }
    for name in ["citext", "hstore", "ltree"] {
        if database.create_extension(name, "public") {
            list.extension(name);
        }
    }
    list.0
}

struct Columns(Vec<Column>);

impl Columns {
    /// Values that are literals without their quotes.
    fn add(&mut self, tag: Tag, sql_type: &str, literals: &[&str]) {
        let values: Vec<String> = literals
            .iter()
            .map(|literal| format!("'{}'", literal.replace('\'', "''")))
            .collect();
        self.0.push(Column {
            sql_type: sql_type.to_owned(),
            tag,
            values,
        });
    }

    /// Adds a value to the column before, as SQL has it.
    fn and(&mut self, expression: &str) -> &mut Columns {
        let column = self.0.last_mut().expect("a column was added");
        column.values.push(expression.to_owned());
        self
    }

    fn raw(&mut self, sql_type: &str, literals: &[&str]) {
        self.add(Tag::RawText, sql_type, literals);
    }

    fn numbers(&mut self, numeric_has_infinity: bool) {
        self.add(Tag::Bool, "bool", &["t", "f"]);
        self.add(Tag::Int2, "int2", &["0", "-1", "-32768", "32767"]);
        self.add(Tag::Int4, "int4", &["0", "-1", "-2147483648", "2147483647"]);
        let int8 = [
            "0",
            "-1",
            "-9223372036854775808",
            "9223372036854775807",
            "9007199254740993",
        ];
        self.add(Tag::Int8, "int8", &int8);
        self.add(Tag::Oid, "oid", &["0", "1", "2147483648", "4294967295"]);
        let float4 = [
            "0",
            "-0",
            "1.5",
            "0.1",
            "-0.3",
            "1e-45",
            "-1e-45",
            "1.17549435e-38",
            "3.4028235e38",
            "-3.4028235e38",
            "16777217",
            "NaN",
            "Infinity",
            "-Infinity",
        ];
        self.add(Tag::Float4, "float4", &float4);
        let float8 = [
            "0",
            "-0",
            "1.5",
            "0.1",
            "-0.3",
            "5e-324",
            "-5e-324",
            "2.2250738585072011e-308",
            "2.2250738585072014e-308",
            "1.7976931348623157e308",
            "-1.7976931348623157e308",
            "1e23",
            "9007199254740993",
            "0.30000000000000004",
            "123456789012345680000",
            "NaN",
            "Infinity",
            "-Infinity",
        ];
        self.add(Tag::Float8, "float8", &float8);
        self.raw("numeric", &["0", "-0.000", "1e500", "1e-500", "NaN"]);
        self.and("repeat('9', 1000)::numeric")
            .and("-('0.' || repeat('0', 998) || '12')::numeric");
        if numeric_has_infinity {
            self.and("'Infinity'").and("'-Infinity'");
        }
        self.raw("numeric(20,5)", &["0", "1.5", "-99999.99999"]);
        self.raw(
            "money",
            &[
                "0",
                "-0.01",
                "-92233720368547758.08",
                "92233720368547758.07",
            ],
        );
    }

    fn texts(&mut self) {
        self.add(Tag::Char, "\"char\"", &["a", "", "\\", "\n", "\x7f", "\""]);
        self.and("(-1)::\"char\"")
            .and("(-128)::\"char\"")
            .and("(-61)::\"char\"");
        let texts = [
            "",
            " ",
            "NULL",
            "\"quoted\" 'it'",
            "back\\slash \\n \\u0041",
            "line\nline\r\n\ttab",
            "\x01\x08\x0b\x0c\x1f\x7f",
            "é 漢 😀 👩‍👩‍👧 \u{2028}\u{2029}\u{feff}\u{fffd}\u{10ffff}",
        ];
        self.add(Tag::String, "text", &texts);
        self.and("(SELECT string_agg(chr(i), '' ORDER BY i) FROM generate_series(1, 255) AS i)")
            .and("repeat('0123456789\"é😀', 70000)");
        self.add(Tag::String, "varchar", &texts);
        self.add(Tag::String, "varchar(3)", &["", "é\"😀"]);
        self.add(Tag::String, "char(5)", &["", "ab", "a\\b\"😀"]);
        self.add(Tag::String, "bpchar", &["ab  ", ""]);
        let name = "n".repeat(63);
        self.add(Tag::String, "name", &["", "a\"b", "😀", &name]);
    }

    fn times(&mut self, interval_has_infinity: bool) {
        let dates = [
            "2020-02-29",
            "infinity",
            "-infinity",
            "4713-01-01 BC",
            "0001-12-31 BC",
            "0001-01-01",
            "10000-01-01",
            "5874897-12-31",
        ];
        self.raw("date", &dates);
        self.raw("time", &["00:00", "24:00", "23:59:59.999999", "12:00:00.1"]);
        self.raw("time(0)", &["12:34:56.789"]);
        self.raw(
            "timetz",
            &[
                "12:34:56.789+15:59:59",
                "24:00-15:59",
                "00:00+05:45",
                "00:00Z",
            ],
        );
        let timestamps = [
            "2020-02-29 12:34:56.000001",
            "infinity",
            "-infinity",
            "4713-01-01 00:00:00 BC",
            "0001-12-31 23:59:59.999999 BC",
            "10000-01-01 00:00:00",
            "294276-12-31 23:59:59.999999",
        ];
        self.raw("timestamp", &timestamps);
        self.raw("timestamp(3)", &["2020-01-01 00:00:00.1239"]);
        let zoned = [
            "2020-06-01 12:00:00+05:45",
            "1880-01-01 00:00:00.5+00",
            "infinity",
            "-infinity",
            "4713-01-01 00:00:00+00 BC",
            "294276-12-31 23:59:59.999999+00",
        ];
        self.raw("timestamptz", &zoned);
        let intervals = [
            "0",
            "1 mon -1 days +00:00:00.000001",
            "-0.5 s",
            "178000000 years",
            "-178000000 years",
            "1 year 2 mons 3 days 04:05:06.789",
            "-1 year +2 days -00:00:03",
            "1000000:00:00.000001",
        ];
        self.raw("interval", &intervals);
        if interval_has_infinity {
            self.and("'infinity'").and("'-infinity'");
        }
        self.raw("interval day to minute", &["3 04:05"]);
    }

    fn others(&mut self) {
        let uuids = [
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-ffff-ffff-ffff-ffffffffffff",
        ];
        self.raw("uuid", &uuids);
        let json = [
            "{\"a\" :  1,\n\t\"b\":\"\\u00e9\\ud83d\\ude00\\u0000\", \"a\":[ ]}",
            "null",
            "\"\"",
            " 1e400 ",
        ];
        self.raw("json", &json);
        let jsonb = [
            "{\"b\": \"\\u00e9\\n\\\"\\\\\", \"a\": [1.50, null]}",
            "null",
            "\"😀\"",
            "1e400",
            "{}",
        ];
        self.raw("jsonb", &jsonb);
        self.raw("bytea", &["", "\\x00ff"]);
        self.and(
            "(SELECT decode(string_agg(lpad(to_hex(i), 2, '0'), '' ORDER BY i), 'hex')
                   FROM generate_series(0, 255) AS i)",
        );
        self.raw("bit(3)", &["000", "101"]);
        self.raw("varbit", &["", "1", "0101010101010101010101"]);
        let inets = [
            "0.0.0.0",
            "192.168.0.1",
            "192.168.0.1/24",
            "255.255.255.255/0",
            "::",
            "::ffff:1.2.3.4/120",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ];
        self.raw("inet", &inets);
        self.raw("cidr", &["10/8", "0.0.0.0/0", "::/0", "2001:db8::/32"]);
        self.raw("macaddr", &["00:00:00:00:00:00", "FF-ff-ff-ff-ff-ff"]);
        self.raw("macaddr8", &["08:00:2b:01:02:03:04:05"]);
        self.raw("point", &["(1.5,-0)", "(NaN,Infinity)", "(0.1,5e-324)"]);
        self.raw("line", &["{1,-1,0}"]);
        self.raw("lseg", &["[(0,0),(1,1.1)]"]);
        self.raw("box", &["(1,1),(0,0)"]);
        self.raw("path", &["[(0,0),(1,1),(2,0)]", "((0,0),(1,1),(2,0))"]);
        self.raw("polygon", &["((0,0),(1,1),(2,0))"]);
        self.raw("circle", &["<(0,0),1e300>"]);
        self.raw("tsvector", &["", "'it''s':1A,2 fat:4B,16383 'a b'"]);
        self.raw("tsquery", &["", "fat & !(rat | 'a''b':*A) <2> cat"]);
        self.raw("pg_lsn", &["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"]);
        self.raw("xid", &["0", "4294967295"]);
        self.raw("cid", &["4294967295"]);
        self.raw("tid", &["(0,1)", "(4294967295,65535)"]);
        self.raw("txid_snapshot", &["10:20:10,14,15"]);
        self.raw("oidvector", &["", "1 4294967295"]);
        self.raw("int2vector", &["1 -2"]);
        self.raw(
            "regclass",
            &["pg_class", "public.everything", "0", "4294967295"],
        );
        self.raw(
            "regtype",
            &["int4", "public.mood", "timestamp with time zone"],
        );
        self.raw("aclitem", &["postgres=r*w/postgres"]);
        self.raw("refcursor", &["", "a\"b"]);
    }

    fn several(&mut self) {
        let ints = [
            "{}",
            "{1,NULL,-3}",
            "[-2:0]={1,2,3}",
            "{{1,2},{3,4}}",
            "[5:5][0:1]={{NULL,2}}",
        ];
        self.raw("int4[]", &ints);
        self.raw("bool[]", &["{t,f,NULL}"]);
        let texts = [
            "{\"a,b\",\"NULL\",NULL,\"\",\"q\\\"x\\\\y\",\"{}\",\" \",\"line\nline\"}",
            "{😀}",
        ];
        self.raw("text[]", &texts);
        self.raw("float8[]", &["{0.1,NaN,-0,5e-324,-Infinity}"]);
        self.raw("numeric[]", &["{0.00,NaN}"]);
        self.raw(
            "timestamptz[]",
            &["{\"2020-01-01 00:00:00+05:45\",infinity}"],
        );
        self.raw("interval[]", &["{\"1 mon -1 days\"}"]);
        self.raw("bytea[]", &["{\"\\\\x00ff\",\"\"}"]);
        self.raw("money[]", &["{1234567.89,-1}"]);
        self.raw("jsonb[]", &["{\"{\\\"a\\\": \\\"\\\\\\\\\\\"}\"}"]);
        self.raw("int4range", &["empty", "[1,5)", "(,)", "[,3]"]);
        self.raw("int8range", &["[-9223372036854775808,9223372036854775807)"]);
        self.raw("numrange", &["(0.1,0.10]", "[0.1,1e3]"]);
        self.raw("tsrange", &["[\"0001-01-01 00:00:00 BC\",infinity]"]);
        self.raw("tstzrange", &["[\"2020-01-01 00:00:00+05:45\",)"]);
        self.raw("daterange", &["(2020-01-01,2020-02-29]"]);
        self.raw("int4range[]", &["{\"[1,5)\",empty}"]);
    }

    fn of_users(&mut self) {
        self.raw("public.mood", &["sad", "so-so", "it's \"fine\"", "😀"]);
        self.raw("public.mood[]", &["{sad,\"it's \\\"fine\\\"\",NULL}"]);
        self.raw("public.small", &["-2147483648", "99"]);
        self.raw("public.smaller", &["9"]);
        self.raw("public.word", &["", "a\"b\\c\n😀"]);
        let pairs = [
            "(,,)",
            "(1,\"a\"\"b\\\\,()\",\"2020-01-01 00:00:00+05:45\")",
            "(2,\"\",infinity)",
        ];
        self.raw("public.pair", &pairs);
        self.raw("public.pair[]", &["{\"(1,a,)\",NULL}"]);
        self.raw("public.float_range", &["[0.1,0.30000000000000004)"]);
    }

    fn optional(&mut self, name: &str) {
        let literals: &[&str] = match name {
            "xml" => &[
                "<?xml version=\"1.0\"?><a b=\"c\">\n&lt;é😀</a>",
                "",
                "text",
            ],
            "xid8" => &["0", "18446744073709551615"],
            "jsonpath" => &["$.\"a\"[*] ? (@ > 1.50 && @ like_regex \"^\\\\d\")"],
            "int4multirange" => &["{}", "{[1,5),[7,)}"],
            _ => panic!("no values of {name}"),
        };
        self.raw(name, literals);
    }

    fn extension(&mut self, name: &str) {
        match name {
            "citext" => {
                self.add(Tag::String, "public.citext", &["", "MiXed \"q\" \\ 😀\n"]);
                self.raw("public.citext[]", &["{MiXed,NULL}"]);
            }
            "hstore" => self.raw(
                "public.hstore",
                &["", "a=>NULL, \"b\"=>\"\", \"q\\\"\\\\\"=>\"😀\nline\""],
            ),
            "ltree" => self.raw("public.ltree", &["", "Top.Science_1.A"]),
            _ => panic!("no values of {name}"),
        }
    }
}
