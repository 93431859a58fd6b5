-- Regenerates src/sql/postgres/functions.txt and src/sql/postgres/reaching.txt.
--
-- Run it on the oldest and on the newest server that is supported, once for each list, and merge:
--
--   for p in 15-port 18-port; do psql -p $p -XAt -v list=functions -f tests/analyser_functions.sql; done \
--     | LC_ALL=C sort -u > functions.txt          (the same with list=reaching)
--   LC_ALL=C comm -23 functions.txt reaching.txt  (a name that reaches in one version reaches in all)
--
-- Both stand in for a catalog whose functions could not be read. src/sql/postgres/outside.txt is the part of
-- reaching.txt that counts beside the server's own ACL: without the machinery (input functions, support
-- functions, whatever takes `internal`), and without what only tells something of the server that any role may
-- know (WAL positions, control data, this session's own cursors). Judged by hand on 13, 14, 15 and 18.
--
-- A name is harmless when none of its overloads touches anything but its arguments, the catalogs
-- that any role may read, and this session's own state. Judged by hand: the pattern below is the judgement.
with named as (
  select p.proname as name,
         bool_or(p.prosecdef
           or p.prorettype in ('internal'::regtype, 'trigger'::regtype, 'event_trigger'::regtype,
                'language_handler'::regtype, 'fdw_handler'::regtype, 'index_am_handler'::regtype,
                'table_am_handler'::regtype, 'tsm_handler'::regtype)
           or 'internal'::regtype = any (p.proargtypes::oid[])) as machinery,
         bool_and('cstring'::regtype = any (p.proargtypes::oid[])) as text_input
    from pg_catalog.pg_proc p
   where p.pronamespace = 'pg_catalog'::regnamespace
   group by p.proname
), judged as (
  select name,
         machinery or text_input or name ~ (
           -- files, programs, configuration, control data
           '^pg_(ls|read|stat_file|file|hba|ident_|show|config|control|current_logfile|rotate|reload)'
           -- large objects
           || '|^(lo_|loread|lowrite)'
           -- SQL in a string, or the name of a relation whose rows are read
           || '|_to_xml|^(ts_stat|ts_rewrite|currtid)|^pg_get_loaded_modules'
           -- settings; sequences (a rule of their own in functions.rs)
           || '|^(set_config|current_setting|nextval|setval|currval|lastval|pg_sequence_last_value|pg_get_sequence_data)$'
           -- other sessions
           || '|^pg_(terminate|cancel|lock|blocking|safe_snapshot|isolation|prepared_xact|export_snapshot|promote|log_)'
           || '|^pg_stat_get_(activity|backend_|progress|wal|subscription|replication|io|recovery)'
           || '|^pg_stat_(reset|force)|^pg_(clear|restore)_.*_stats|^pg_get_(backend|shmem|aios|multixact|replication_slots)'
           || '|advisory|^pg_(cursor|prepared_statement)$'
           -- replication, WAL, backup, upgrade
           || '|^pg_(replication|logical|create|drop|copy|sync|switch|backup|current_wal|last_|wal_(replay|summary)|available_wal|get_wal|is_wal)'
           || '|^binary_upgrade|^brin_|^gin_clean|^pg_(nextoid|stop_making|import_system|extension_config|event_trigger)'
           -- validators and handlers
           || '|_validator$|_handler$|handler$|^plpgsql_|^RI_FKey|^postgresql_fdw'
         ) as reaching
    from named
)
select name from judged where reaching = (:'list' = 'reaching')
union
-- Known by name only: PostgreSQL 13 and 14, adminpack (which installs into pg_catalog).
select unnest(array['pg_start_backup', 'pg_stop_backup', 'pg_is_in_backup', 'pg_backup_start_time',
    'pg_file_write', 'pg_file_rename', 'pg_file_unlink', 'pg_file_read', 'pg_file_length', 'pg_file_sync',
    'pg_logdir_ls', 'pg_logfile_rotate'])
 where :'list' = 'reaching'
order by 1;
