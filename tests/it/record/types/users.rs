//! Types that users and extensions make: enums, domains, composites, ranges.

use super::check::Tag::{RawText, String};
use super::samples::Sample;
use crate::support::postgres::Database;

/// Beside the types, what values of `reg...` types name: things in a schema that is not searched,
/// under names that need quotes. The table fills the catalogs that have types of their own.
const EVERYWHERE: &str = r#"
    CREATE TYPE public.mood AS ENUM ('sad', 'so-so', 'it''s "fine"', '😀');
    CREATE TYPE public."näme ""q"" 😀" AS ENUM ('x', '');
    CREATE TYPE public.pair AS (n int4, t text, at timestamptz);
    CREATE TYPE public.nested AS (p public.pair, ps public.pair[], m public.mood, b bytea);
    CREATE TYPE public.nothing AS ();
    CREATE TYPE public.float_range AS RANGE (subtype = float8);
    CREATE TYPE public.mood_range AS RANGE (subtype = public.mood);
    CREATE DOMAIN public.small AS int4 CHECK (VALUE < 100);
    CREATE DOMAIN public.smaller AS public.small CHECK (VALUE < 10);
    CREATE DOMAIN public.word AS text;
    CREATE DOMAIN public.feeling AS public.mood;
    CREATE DOMAIN public.ints AS int4[];
    CREATE DOMAIN public.span AS int4range;
    CREATE DOMAIN public.moment AS timestamptz(3);

    CREATE FUNCTION public.select(public.mood) RETURNS bool LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION public.same(public.mood, public.mood) RETURNS bool LANGUAGE sql AS 'SELECT true';
    CREATE OPERATOR public.=#= (LEFTARG = public.mood, RIGHTARG = public.mood,
                                PROCEDURE = public.same);
    CREATE TEXT SEARCH CONFIGURATION public."select" (COPY = pg_catalog.simple);
    CREATE COLLATION public."select" (lc_collate = 'C', lc_ctype = 'C');
    CREATE TABLE public.described (a int4 DEFAULT length('ü'), b int4);
    INSERT INTO public.described SELECT n % 10, n % 10 FROM generate_series(1, 1000) AS n;
    CREATE STATISTICS public.of_both ON a, b FROM public.described;
    ANALYZE public.described;
"#;

/// What came with a version.
const SINCE: [(u32, &str); 3] = [
    (
        11,
        "CREATE DOMAIN public.odd_pair AS public.pair CHECK ((VALUE).n <> 0)",
    ),
    (11, "CREATE DOMAIN public.words AS public.word[]"),
    (14, "CREATE DOMAIN public.spans AS int4multirange"),
];

/// Extensions with types that columns can have.
const EXTENSIONS: [&str; 7] = [
    "citext",
    "hstore",
    "ltree",
    "cube",
    "earthdistance",
    "seg",
    "isn",
];

pub const SAMPLES: &[Sample] = &[
    (
        "public.mood",
        RawText,
        &["sad", "so-so", "it's \"fine\"", "😀"],
    ),
    ("public.näme \"q\" 😀", RawText, &["x", ""]),
    (
        "public.pair",
        RawText,
        &[
            "(,,)",
            "(1,\"a\"\"b\\\\,()\",\"2020-01-01 00:00:00+05:45\")",
            "(2,\"\",infinity)",
        ],
    ),
    (
        "public.nested",
        RawText,
        &[
            "(,,,)",
            "(\"(1,\"\"a\"\"\"\"b\"\",)\",\"{\"\"(2,\\\\\"\"NULL\\\\\"\",infinity)\"\",NULL}\",\"it's \"\"fine\"\"\",\\\\x00ff)",
        ],
    ),
    ("public.nothing", RawText, &["()"]),
    (
        "public.float_range",
        RawText,
        &["[0.1,0.30000000000000004)", "(-Infinity,NaN]", "empty"],
    ),
    (
        "public.float_multirange",
        RawText,
        &["{[0.1,0.30000000000000004),[5e300,)}"],
    ),
    (
        "public.mood_range",
        RawText,
        &["[sad,\"it's \\\"fine\\\"\"]"],
    ),
    ("public.mood_multirange", RawText, &["{[sad,😀]}"]),
    ("public.small", RawText, &["-2147483648", "99"]),
    ("public.smaller", RawText, &["9"]),
    ("public.word", RawText, &["", "a\"b\\c\n😀"]),
    ("public.words", RawText, &["[0:1]={\"a,b\",NULL}", "{}"]),
    ("public.feeling", RawText, &["it's \"fine\""]),
    ("public.ints", RawText, &["{{1,NULL}}", "{}"]),
    ("public.span", RawText, &["(1,3]"]),
    ("public.spans", RawText, &["{(1,3],(7,)}"]),
    (
        "public.moment",
        RawText,
        &["2020-06-01 12:00:00.1239+05:45"],
    ),
    ("public.odd_pair", RawText, &["(1,\"a b\",)"]),
    // The server describes a domain by the name of what it is based on.
    ("public.soft", String, &["MiXed"]),
    ("public.ean13", RawText, &["978-0-393-04002-9"]),
    ("public.isbn13", RawText, &["978-0-393-04002-9"]),
    ("public.ismn13", RawText, &["979-0-060-11561-5"]),
    ("public.issn13", RawText, &["977-1436-452-00-8"]),
    ("public.isbn", RawText, &["0-393-04002-X"]),
    ("public.ismn", RawText, &["M-060-11561-5"]),
    ("public.issn", RawText, &["1436-4522"]),
    ("public.upc", RawText, &["220356483481"]),
];

/// Makes all that this server has.
pub fn create(database: &Database, major: u32) {
    database.execute(EVERYWHERE);
    for (_, sql) in SINCE.iter().filter(|(since, _)| major >= *since) {
        database.execute(sql);
    }
    for name in EXTENSIONS {
        if database.create_extension(name, "public") && name == "citext" {
            database.execute("CREATE DOMAIN public.soft AS public.citext");
        }
    }
}
