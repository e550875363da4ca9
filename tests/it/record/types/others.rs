//! Samples of what stands less often in tables: addresses, shapes, ranges, and the server's own types.

use super::check::Tag::RawText;
use super::samples::Sample;

pub const NETWORK: &[Sample] = &[
    (
        "inet",
        RawText,
        &[
            "0.0.0.0",
            "192.168.0.1",
            "192.168.0.1/24",
            "255.255.255.255/0",
            "::",
            "::ffff:1.2.3.4/120",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ],
    ),
    (
        "cidr",
        RawText,
        &["10/8", "0.0.0.0/0", "::/0", "2001:db8::/32"],
    ),
    (
        "macaddr",
        RawText,
        &["00:00:00:00:00:00", "FF-ff-ff-ff-ff-ff"],
    ),
    ("macaddr8", RawText, &["08:00:2b:01:02:03:04:05"]),
];

pub const GEOMETRY: &[Sample] = &[
    (
        "point",
        RawText,
        &["(1.5,-0)", "(NaN,Infinity)", "(0.1,5e-324)"],
    ),
    (
        "line",
        RawText,
        &["{1,-1,0}", "{0.1,0.30000000000000004,-3}"],
    ),
    ("lseg", RawText, &["[(0,0),(1,1.1)]"]),
    ("box", RawText, &["(1,1),(0,0)"]),
    (
        "path",
        RawText,
        &["[(0,0),(1,1),(2,0)]", "((0,0),(1,1),(2,0))"],
    ),
    ("polygon", RawText, &["((0,0),(1,1),(2,0.1))"]),
    ("circle", RawText, &["<(0,0),1e300>"]),
    (
        "public.cube",
        RawText,
        &["(0.1,2),(0.30000000000000004,-0)"],
    ),
    ("public.earth", RawText, &["(6378168,0,0)"]),
    ("public.seg", RawText, &["1.50", "<1.5 .. ~2", "1(+-)0.1"]),
];

pub const SYSTEM: &[Sample] = &[
    // See the expressions.
    ("pg_node_tree", RawText, &[]),
    (
        "pg_lsn",
        RawText,
        &["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"],
    ),
    ("xid", RawText, &["0", "4294967295"]),
    ("xid8", RawText, &["0", "18446744073709551615"]),
    ("cid", RawText, &["4294967295"]),
    ("tid", RawText, &["(0,1)", "(4294967295,65535)"]),
    ("txid_snapshot", RawText, &["10:20:10,14,15"]),
    ("pg_snapshot", RawText, &["10:20:10,14,15"]),
    ("oidvector", RawText, &["", "1 4294967295"]),
    ("int2vector", RawText, &["", "1 -2"]),
    // These two are arrays themselves, which ARRAY[] would take apart.
    (
        "_oidvector",
        RawText,
        &["{}", "{\"\",\"1 4294967295\",NULL}"],
    ),
    ("_int2vector", RawText, &["{}", "[0:1]={\"1 -2\",NULL}"]),
    (
        "regclass",
        RawText,
        &["pg_class", "public.everything_0", "0", "4294967295"],
    ),
    (
        "regtype",
        RawText,
        &[
            "int4",
            "public.mood",
            "timestamp with time zone",
            "public.mood[]",
        ],
    ),
    (
        "regproc",
        RawText,
        &["0", "pg_catalog.now", "public.select"],
    ),
    (
        "regprocedure",
        RawText,
        &["0", "pg_catalog.lower(text)", "public.select(public.mood)"],
    ),
    ("regoper", RawText, &["0", "public.=#="]),
    (
        "regoperator",
        RawText,
        &[
            "0",
            "pg_catalog.+(int4,int4)",
            "public.=#=(public.mood,public.mood)",
        ],
    ),
    ("regconfig", RawText, &["simple", "public.select"]),
    ("regdictionary", RawText, &["simple"]),
    ("regnamespace", RawText, &["0", "pg_catalog", "public"]),
    ("regrole", RawText, &["0", "postgres"]),
    ("regcollation", RawText, &["\"C\"", "public.\"select\""]),
    (
        "aclitem",
        RawText,
        &["postgres=r*w/postgres", "=X/postgres"],
    ),
];

pub const RANGES: &[Sample] = &[
    ("int4range", RawText, &["empty", "[1,5)", "(,)", "[,3]"]),
    (
        "int8range",
        RawText,
        &["[-9223372036854775808,9223372036854775807)"],
    ),
    ("numrange", RawText, &["(0.1,0.10]", "[0.1,1e3]"]),
    (
        "tsrange",
        RawText,
        &["[\"0001-01-01 00:00:00 BC\",infinity]"],
    ),
    ("tstzrange", RawText, &["[\"2020-01-01 00:00:00+05:45\",)"]),
    ("daterange", RawText, &["(2020-01-01,2020-02-29]"]),
    ("int4multirange", RawText, &["{}", "{[1,5),[7,)}"]),
    ("int8multirange", RawText, &["{(,1),[3,3]}"]),
    ("nummultirange", RawText, &["{(0.1,0.2],[0.30,1e3]}"]),
    (
        "tsmultirange",
        RawText,
        &["{[\"0001-01-01 00:00:00 BC\",infinity]}"],
    ),
    (
        "tstzmultirange",
        RawText,
        &["{[\"2020-01-01 00:00:00+05:45\",)}"],
    ),
    ("datemultirange", RawText, &["{(,2020-02-29]}"]),
];

/// Gone since version 12.
pub const OLD: &[Sample] = &[
    (
        "abstime",
        RawText,
        &["2001-09-09 01:46:40+00", "infinity", "-infinity", "invalid"],
    ),
    ("reltime", RawText, &["1 mon 2 days 03:04:05", "-1 day"]),
    (
        "tinterval",
        RawText,
        &["[\"2001-09-09 01:46:40+00\" \"2002-09-09 01:46:40+00\"]"],
    ),
    ("smgr", RawText, &["magnetic disk"]),
];
