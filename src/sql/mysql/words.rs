//! Key words, and the functions that are built in.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::settings::Flavour;

/// Reserved by both servers, or with a meaning where a name might stand.
const RESERVED: &str = " accessible add all alter analyze and as asc asensitive before between bigint binary \
blob both by call cascade case change char character check collate column condition constraint continue \
convert create cross current_date current_time current_timestamp current_user cursor database databases \
day_hour day_microsecond day_minute day_second dec decimal declare default delayed delete desc describe \
deterministic distinct distinctrow div double drop dual each else elseif enclosed end escaped except exists \
exit explain false fetch float float4 float8 for force foreign from fulltext grant group having \
high_priority hour_microsecond hour_minute hour_second if ignore in index infile inner inout insensitive \
insert int int1 int2 int3 int4 int8 integer intersect interval into is iterate join key keys kill leading \
leave left like limit linear lines load localtime localtimestamp lock long longblob longtext loop \
low_priority master_ssl_verify_server_cert match maxvalue mediumblob mediumint mediumtext middleint \
minute_microsecond minute_second mod modifies natural no_write_to_binlog not null numeric on optimize option \
optionally or order out outer outfile over partition precision primary procedure purge range read \
read_write reads real recursive references regexp release rename repeat replace require resignal restrict \
return revoke right rlike row_number rows schema schemas second_microsecond select sensitive separator set \
show signal smallint spatial specific sql sql_big_result sql_buffer_result sql_cache sql_calc_found_rows \
sql_no_cache sql_small_result sqlexception sqlstate sqlwarning ssl starting straight_join table terminated \
then tinyblob tinyint tinytext to trailing trigger true undo union unique unlock unsigned update usage use \
using utc_date utc_time utc_timestamp values varbinary varchar varcharacter varying when where while window \
with write xor year_month zerofill ";

static OF_MYSQL: Words = LazyLock::new(|| {
    words(&[
        RESERVED,
        " cube cume_dist dense_rank empty first_value function generated get grouping groups \
io_after_gtids io_before_gtids json_table lag last_value lateral lead manual master_bind nth_value ntile of \
optimizer_costs parallel percent_rank qualify rank row stored system tablesample virtual ",
    ])
});

static OF_MARIADB: Words = LazyLock::new(|| {
    words(&[
        RESERVED,
        " current_role delete_domain_id do_domain_ids general ignore_domain_ids json_table \
master_heartbeat_period nested offset page_checksum parse_vcol_expr ref_system_id returning rownum slow \
stats_auto_recalc stats_persistent stats_sample_pages ",
    ])
});

/// A list of words, in which one is found by its hash.
type Words = LazyLock<HashSet<&'static str>>;

/// The words of lists, which are lower-case.
fn words(lists: &[&'static str]) -> HashSet<&'static str> {
    lists.iter().flat_map(|list| list.split(' ')).filter(|word| !word.is_empty()).collect()
}

fn has(list: &Words, word: &str) -> bool {
    if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
        list.contains(&*word.to_ascii_lowercase())
    } else {
        list.contains(word)
    }
}

/// Whether a word without quotes is no name.
pub(super) fn is_reserved(word: &str, flavour: Flavour) -> bool {
    let own = match flavour {
        Flavour::MySql => &OF_MYSQL,
        Flavour::MariaDb => &OF_MARIADB,
    };
    has(own, word)
}

/// Key words that are functions when a parenthesis follows.
static CALLED: Words = LazyLock::new(|| {
    words(&[" char left right if insert repeat replace mod database schema row_number rank \
dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value row values default \
interval convert grouping truncate rownum "])
});

/// Whether a reserved word followed by a parenthesis is a function of that name.
pub(super) fn is_called(word: &str) -> bool {
    has(&CALLED, word)
}

/// Functions that are key words, without or with an empty parenthesis.
static BARE: Words = LazyLock::new(|| {
    words(&[" current_date current_time current_timestamp current_user current_role localtime \
localtimestamp utc_date utc_time utc_timestamp null true false "])
});

/// Whether a word alone is a value.
pub(super) fn is_bare(word: &str) -> bool {
    has(&BARE, word)
}

/// Built-in functions that read nothing but their arguments and the session, or do what everybody may.
static FUNCTIONS: Words = LazyLock::new(|| {
    words(&[
        " abs acos adddate addtime aes_decrypt aes_encrypt any_value ascii asin atan atan2 avg \
benchmark bin bin_to_uuid bit_and bit_count bit_length bit_or bit_xor cast ceil ceiling char char_length \
character_length charset chr coalesce coercibility collation compress concat concat_ws connection_id conv \
convert convert_tz cos cot count crc32 crc32c cume_dist curdate current_date current_role current_time \
current_timestamp current_user curtime database date date_add date_format date_sub datediff day dayname \
dayofmonth dayofweek dayofyear decode degrees dense_rank elt encode exp export_set extract extractvalue field \
find_in_set first_value floor format format_bytes format_pico_time found_rows from_base64 from_days \
from_unixtime get_format get_lock greatest group_concat grouping hex hour icu_version if ifnull inet6_aton \
inet6_ntoa inet_aton inet_ntoa insert instr interval is_free_lock is_ipv4 is_ipv4_compat is_ipv4_mapped \
is_ipv6 is_used_lock is_uuid isnull json_array json_array_append json_array_insert json_arrayagg \
json_compact json_contains json_contains_path json_depth json_detailed json_equals json_exists json_extract \
json_insert json_keys json_length json_loose json_merge json_merge_patch json_merge_preserve json_normalize \
json_object json_objectagg json_overlaps json_pretty json_query json_quote json_remove json_replace \
json_schema_valid json_schema_validation_report json_search json_set json_storage_free json_storage_size \
json_type json_unquote json_valid json_value lag last_day last_insert_id last_value lcase lead least left \
length lengthb ln localtime localtimestamp locate log log10 log2 lower lpad ltrim make_set makedate maketime \
max md5 median microsecond mid min minute mod month monthname name_const natural_sort_key now nth_value ntile \
nullif nvl nvl2 oct octet_length ord percent_rank period_add period_diff pi position pow power \
ps_current_thread_id ps_thread_id quarter quote radians rand random_bytes rank regexp_instr regexp_like \
regexp_replace regexp_substr release_all_locks release_lock repeat replace reverse right roles_graphml round \
row row_count row_number rownum rpad rtrim schema sec_to_time second session_user sformat sha sha1 sha2 sign sin \
sleep soundex space sqrt statement_digest statement_digest_text std stddev stddev_pop stddev_samp \
str_to_date strcmp subdate substr substring substring_index subtime sum sysdate system_user sys_guid tan time \
time_format time_to_sec timediff timestamp timestampadd timestampdiff to_base64 to_char to_days to_seconds \
trim truncate ucase uncompress uncompressed_length unhex unix_timestamp updatexml upper user utc_date \
utc_time utc_timestamp uuid uuid_short uuid_to_bin validate_password_strength values var_pop var_samp \
variance version week weekday weekofyear weight_string year yearweek default json_array_intersect \
json_object_filter_keys json_object_to_array geometryfromtext geomfromtext st_aswkt st_astext st_asbinary \
st_aswkb st_geomfromtext st_geomfromwkb st_geometryfromtext st_x st_y st_distance st_distance_sphere \
st_contains st_within st_intersects st_srid st_area st_length st_isvalid st_asgeojson st_geomfromgeojson \
st_buffer st_envelope st_equals st_disjoint st_touches st_crosses st_overlaps st_union st_intersection \
st_difference st_centroid st_numpoints st_pointn st_startpoint st_endpoint st_geometrytype st_dimension \
st_isempty st_transform st_latitude st_longitude st_pointfromtext mbrcontains mbrwithin mbrintersects \
mbrequal mbrdisjoint point linestring polygon multipoint multilinestring multipolygon geometrycollection \
gtid_subset gtid_subtract master_pos_wait master_gtid_wait source_pos_wait wait_for_executed_gtid_set ",
    ])
});

/// Whether a function is built in and harmless.
pub(super) fn is_builtin(name: &str) -> bool {
    has(&FUNCTIONS, name)
}

/// Key words only where the parenthesis follows at once; otherwise a stored function's name.
static GLUED: Words = LazyLock::new(|| {
    words(&[
        " adddate bit_and bit_or bit_xor cast count curdate curtime date_add date_sub extract \
group_concat json_arrayagg json_objectagg max mid min now position session_user std stddev stddev_pop \
stddev_samp st_collect subdate substr substring sum sysdate system_user trim variance var_pop var_samp avg \
median ",
    ])
});

/// Whether white space before the parenthesis makes it another function.
pub(super) fn is_glued(name: &str) -> bool {
    has(&GLUED, name)
}

/// Units of INTERVAL, EXTRACT and their like.
static UNITS: Words = LazyLock::new(|| {
    words(&[" microsecond second minute hour day week month quarter year second_microsecond \
minute_microsecond minute_second hour_microsecond hour_second hour_minute day_microsecond day_second \
day_minute day_hour year_month sql_tsi_second sql_tsi_minute sql_tsi_hour sql_tsi_day sql_tsi_week \
sql_tsi_month sql_tsi_quarter sql_tsi_year sql_tsi_frac_second "])
});

/// Whether a word is a unit of time.
pub(super) fn is_unit(word: &str) -> bool {
    has(&UNITS, word)
}

/// Words of the types that CAST, CONVERT and RETURNING take.
static TYPES: Words = LazyLock::new(|| {
    words(&[
        " binary char character nchar national varchar varbinary set charset ascii unicode byte date \
datetime time timestamp decimal dec double precision float real signed unsigned integer int bigint smallint \
year json array point linestring polygon text bool boolean zerofill longtext utf8 utf8mb4 utf8mb3 latin1 \
collate uuid inet4 inet6 interval day second to ",
    ])
});

/// Whether a word belongs to a type.
pub(super) fn is_type(word: &str) -> bool {
    has(&TYPES, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole_only() {
        assert!(is_reserved("SELECT", Flavour::MariaDb) && is_reserved("zerofill", Flavour::MySql));
        assert!(!is_reserved("selec", Flavour::MariaDb) && !is_reserved("elect", Flavour::MariaDb));
        assert!(is_reserved("rank", Flavour::MySql) && !is_reserved("rank", Flavour::MariaDb));
        assert!(is_builtin("abs") && is_builtin("gtid_subtract") && !is_builtin("load_file"));
        assert!(!is_builtin("") && !is_builtin("abs acos"));
    }
}
