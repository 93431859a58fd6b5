-- By hand, on traces.sql: `=` is confirmed to be a read; `!` is not, and a standby refuses it or it leaves a trace;
-- `?` is not, because it says something else at a standby.
= select 1
= select count(*) from t1 join t2 using (c)
= table t1
= values (1), (now()::text::date - current_date)
= select random() < 2, clock_timestamp() > now(), gen_random_uuid() is not null, pg_sleep(0), timeofday() <> ''
= select * from sure_view
= select * from sure_view_below
= select sure(1), sure_below(2), atomic_sure(3)
? select whole(t4) from t4
= select total(a) from t4
= select * from kept
= select * from policed_sure
= select * from sure_parts
= select a from t1 where a operator(app.===) 1
= select 'sad'::mood, 1::plain, '{1,2}'::int[], 'x'::word
= select 'sad'::mood::int
= select relname from pg_class where pg_table_is_visible(oid) and relname = 't1'
= select table_name, column_name from information_schema.columns where table_name = 't1'
= select pg_get_viewdef('sure_view'::regclass), 't1'::regclass, format_type(23, -1)
= select current_setting('search_path'), current_setting('TimeZone', true)
= select json_agg(t1), to_jsonb(a) from t1 group by a
= explain select * from sure_view
= copy t1 to stdout
= copy (select a from t1) to stdout
= with recursive w as (select 1 as n union all select n + 1 from w where n < 3) select * from w
= /* for update */ select a from t1 -- nextval('steps')
! select note('x')
! select a from t1 where note('x') = 1
! select * from note('x')
! select count(*) filter (where note('x') = 1) from t1
! select a from t1 order by note('x')
! select case when note('x') = 1 then 1 end
! select says_stable(1)
! select says_immutable(a) from t1
! select steps_stable()
! select quoted_stable()
! select dynamic_stable('x')
! select atomic_stable(1)
! select default_stable()
! select default_steps()
! select reads_view()
! select noted_total(a) from t4
! select stable_total(a) from t4
! select 1::noted_int
! select 1::noted_deep
! select '{1}'::noted_int[]
! select noted_int(1)
! select row(1, 2)::noted_pair
! select row(1)::noted_rows
! select json_populate_record(null::noted_rows, '{"n": 1}')
! select * from json_to_record('{"n": 1}') as (n noted_int)
! select takes_noted(1)
! select * from noted
! select * from noted_below
! select * from stepped
! select * from of_traced
! select * from traced
! copy traced to stdout
! select * from policed
! select * from policed_through
? select * from of_policed
! select * from parts
! select * from of_parts
! explain analyze select note('x')
! with x as (insert into trace (what) values ('w') returning what) select * from x
! with x as (delete from t1 returning a), y as (select 1) select * from y
! copy (insert into trace (what) values ('w') returning what) to stdout
! select a into made_here from t1
! create table made_here as select a from t1
! select a from t1 for update
! select a from t1 for no key update
! select a from t1 for share
! select a from t1 for key share
! with w as (select a from t1 for update) select * from w
! select nextval('steps')
! select setval('steps', 100)
! select nextval('steps') from generate_series(1, 2)
! select 1; insert into trace (what) values ('m')
! insert into trace (what) values ('i') returning what
! /* select */ update t1 set a = a
! select lo_create(0)
! select pg_current_xact_id()
! select pg_notify('a', 'b')
! notify a
! listen a
! do $$ begin perform note('d'); end $$
! select pg_logical_emit_message(true, 'a', 'b')
? select pg_try_advisory_xact_lock(1)
? select set_config('work_mem', '1MB', true)
? select pg_is_in_recovery()
? select pg_backend_pid()
? select current_setting('transaction_read_only')
? select current_setting('in_hot_standby')
? select * from pg_settings where name = 'port'
? select count(*) from pg_stat_all_tables
? select * from activity
? select last_value from steps
? select * from last_step
? select definer_stable()
? select setseed(0.5)
? select query_to_xml('select note(''x'')', true, true, '')
? select pg_cancel_backend(0)
-- with operators.sql
! select a from t1 where a ### b
! select to_json('sad'::mood)
! select json_build_object('a', 'sad'::mood)
! select 'sad'::mood::json
! select * from operated
? select sure(1)
= select sum(a) from t1
? select to_jsonb(1) is null from t2 where c = 1 and e <> 2
