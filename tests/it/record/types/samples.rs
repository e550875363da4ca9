//! The values of each type at which something could break.

use super::check::Tag;
use super::check::Tag::{Bool, Char, Float4, Float8, Int2, Int4, Int8, Oid, RawText, String};
use super::others::{GEOMETRY, NETWORK, OLD, RANGES, SYSTEM};

/// A type, its form in the record, and literals without their quotes.
pub type Sample = (&'static str, Tag, &'static [&'static str]);

/// The types of `pg_catalog` by their names there; others with their schema.
pub const SAMPLES: [&[Sample]; 9] = [
    NUMBERS, TEXTS, TIMES, DOCUMENTS, NETWORK, GEOMETRY, SYSTEM, RANGES, OLD,
];

/// What a type has since a version.
pub const SINCE: &[(u32, &str, &[&str])] = &[
    (14, "numeric", &["Infinity", "-Infinity"]),
    (17, "interval", &["infinity", "-infinity"]),
];

/// What has no literal. The first word is the type.
pub const EXPRESSIONS: &[(&str, &[&str])] = &[
    (
        "numeric",
        &[
            "repeat('9', 1000)::numeric",
            "-('0.' || repeat('0', 998) || '12')::numeric",
        ],
    ),
    (
        "text",
        &["(SELECT string_agg(chr(i), '' ORDER BY i) FROM generate_series(1, 255) AS i)"],
    ),
    (
        "bytea",
        &[
            "(SELECT decode(string_agg(lpad(to_hex(i), 2, '0'), '' ORDER BY i), 'hex')
             FROM generate_series(0, 255) AS i)",
        ],
    ),
    (
        "pg_node_tree",
        &["(SELECT adbin FROM pg_attrdef ORDER BY oid DESC LIMIT 1)"],
    ),
];

/// Only what a server keeps within its indexes.
pub const WITHOUT_VALUES: &[&str] = &[
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "public.ghstore",
    "public.ltree_gist",
];

const NUMBERS: &[Sample] = &[
    ("bool", Bool, &["t", "f"]),
    ("int2", Int2, &["0", "-1", "-32768", "32767"]),
    ("int4", Int4, &["0", "-1", "-2147483648", "2147483647"]),
    (
        "int8",
        Int8,
        &[
            "0",
            "-1",
            "-9223372036854775808",
            "9223372036854775807",
            "9007199254740993",
        ],
    ),
    ("oid", Oid, &["0", "1", "2147483648", "4294967295"]),
    (
        "float4",
        Float4,
        &[
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
        ],
    ),
    (
        "float8",
        Float8,
        &[
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
        ],
    ),
    (
        "numeric",
        RawText,
        &["0", "-0.000", "1e500", "1e-500", "NaN"],
    ),
    (
        "money",
        RawText,
        &[
            "0",
            "-0.01",
            "-92233720368547758.08",
            "92233720368547758.07",
        ],
    ),
    ("bit", RawText, &["1", "010", "0101010101010101010101"]),
    ("varbit", RawText, &["", "1", "0101010101010101010101"]),
    (
        "information_schema.cardinal_number",
        RawText,
        &["0", "2147483647"],
    ),
];

/// Texts that an escape, a quote or an encoding could break.
const HARD_TEXTS: &[&str] = &[
    "",
    " ",
    "NULL",
    "\"quoted\" 'it'",
    "back\\slash \\n \\u0041 \\x5c \\xe9",
    "line\nline\r\n\ttab",
    "\x01\x08\x0b\x0c\x1f\x7f",
    "é 漢 😀 👩‍👩‍👧 \u{2028}\u{2029}\u{feff}\u{fffd}\u{10ffff}",
];

const TEXTS: &[Sample] = &[
    // Bytes over 127 have a test of their own.
    ("char", Char, &["a", "", "\\", "\n", "\x7f", "\""]),
    ("text", String, HARD_TEXTS),
    ("varchar", String, HARD_TEXTS),
    ("bpchar", String, &["ab  ", "", "é\"😀\\ "]),
    (
        "name",
        String,
        &[
            "",
            "a\"b",
            "😀",
            "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
        ],
    ),
    ("refcursor", RawText, &["", "a\"b"]),
    (
        "tsvector",
        RawText,
        &["", "'it''s':1A,2 fat:4B,16383 'a b'"],
    ),
    (
        "tsquery",
        RawText,
        &["", "fat & !(rat | 'a''b':*A) <2> cat"],
    ),
    (
        "information_schema.character_data",
        RawText,
        &["", "a\"b\\c\n😀"],
    ),
    (
        "information_schema.sql_identifier",
        RawText,
        &["", "a\"b\\c\n😀"],
    ),
    ("information_schema.yes_or_no", RawText, &["YES"]),
    ("public.citext", String, &["", "MiXed \"q\" \\ 😀\n"]),
    (
        "public.hstore",
        RawText,
        &["", "a=>NULL, \"b\"=>\"\", \"q\\\"\\\\\"=>\"😀\nline\""],
    ),
    ("public.ltree", RawText, &["", "Top.Science_1.A"]),
    ("public.lquery", RawText, &["Top.*{1,2}.!a|b@"]),
    ("public.ltxtquery", RawText, &["a & !b* | c@"]),
];

const TIMES: &[Sample] = &[
    (
        "date",
        RawText,
        &[
            "2020-02-29",
            "infinity",
            "-infinity",
            "4713-01-01 BC",
            "0001-12-31 BC",
            "0001-01-01",
            "10000-01-01",
            "5874897-12-31",
        ],
    ),
    (
        "time",
        RawText,
        &["00:00", "24:00", "23:59:59.999999", "12:00:00.1"],
    ),
    (
        "timetz",
        RawText,
        &[
            "12:34:56.789+15:59:59",
            "24:00-15:59",
            "00:00+05:45",
            "00:00Z",
        ],
    ),
    (
        "timestamp",
        RawText,
        &[
            "2020-02-29 12:34:56.000001",
            "infinity",
            "-infinity",
            "4713-01-01 00:00:00 BC",
            "0001-12-31 23:59:59.999999 BC",
            "10000-01-01 00:00:00",
            "294276-12-31 23:59:59.999999",
        ],
    ),
    (
        "timestamptz",
        RawText,
        &[
            "2020-06-01 12:00:00+05:45",
            "1880-01-01 00:00:00.5+00",
            "infinity",
            "-infinity",
            "4713-01-01 00:00:00+00 BC",
            "294276-12-31 23:59:59.999999+00",
        ],
    ),
    (
        "interval",
        RawText,
        &[
            "0",
            "1 mon -1 days +00:00:00.000001",
            "-0.5 s",
            "178000000 years",
            "-178000000 years",
            "1 year 2 mons 3 days 04:05:06.789",
            "-1 year +2 days -00:00:03",
            "1000000:00:00.000001",
        ],
    ),
    (
        "information_schema.time_stamp",
        RawText,
        &["2020-06-01 12:00:00.129+05:45", "infinity"],
    ),
];

const DOCUMENTS: &[Sample] = &[
    (
        "uuid",
        RawText,
        &[
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-ffff-ffff-ffff-ffffffffffff",
        ],
    ),
    (
        "json",
        RawText,
        &[
            "{\"a\" :  1,\n\t\"b\":\"\\u00e9\\ud83d\\ude00\\u0000\", \"a\":[ ]}",
            "null",
            "\"\"",
            " 1e400 ",
            // A surrogate without its other half is no character, but it is JSON.
            "[\"\\ud800\", \"\\udc00\\ud800\"]",
        ],
    ),
    (
        "jsonb",
        RawText,
        &[
            "{\"b\": \"\\u00e9\\n\\\"\\\\\", \"a\": [1.50, null]}",
            "null",
            "\"😀\"",
            "1e400",
            "{}",
        ],
    ),
    (
        "jsonpath",
        RawText,
        &["$.\"a\"[*] ? (@ > 1.50 && @ like_regex \"^\\\\d\")"],
    ),
    (
        "xml",
        RawText,
        &[
            "<?xml version=\"1.0\"?><a b=\"c\">\n&lt;é😀</a>",
            "",
            "text",
        ],
    ),
    ("bytea", RawText, &["", "\\x00ff"]),
];
