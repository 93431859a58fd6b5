-- On top of analyser_schema.sql: functions that leave a trace, openly or through what they call, and relations that
-- call them or are otherwise at a replica. `probe` may do all of it.
create table trace (at timestamptz default clock_timestamp(), what text);
create unlogged table traced (what text);
create sequence steps;
create function note(text) returns int language plpgsql as
    'begin insert into trace (what) values ($1); perform nextval(''steps''); return 1; end';
-- What says STABLE or IMMUTABLE of itself and is not, by what its body calls.
create function says_stable(int) returns int language plpgsql stable as 'begin return note(''s'') + $1; end';
create function says_immutable(int) returns int language sql immutable as 'select says_stable($1)';
create function steps_stable() returns bigint language sql stable as 'select nextval(''public.steps'')';
create function quoted_stable() returns int language sql stable as 'select "note"(''q'')';
create function dynamic_stable(text) returns int language plpgsql stable as
    'declare r int; begin execute ''select no''||''te($1)'' into r using $1; return r; end';
create function atomic_stable(int) returns int language sql stable begin atomic select note('a') + $1; end;
create function atomic_sure(int) returns int language sql stable begin atomic select count(*)::int + $1 from t1; end;
create function default_stable(int default note('d')) returns int language sql stable as 'select $1';
create function default_steps(bigint default nextval('steps')) returns bigint language sql stable as 'select $1';
create function sure(int) returns int language plpgsql stable as
    'declare r int; begin select count(*) + $1 into r from t1 where a > 0; return r; end';
create function sure_below(int) returns int language sql immutable as 'select sure($1)';
create function definer_stable() returns int language sql stable security definer as 'select 1';
-- Through aggregates, domains.
create function note_step(int, int) returns int language sql as 'select note(''g'') + $1';
create aggregate noted_total(int) (sfunc = note_step, stype = int, initcond = '0');
create function stable_step(int, int) returns int language sql stable as 'select says_stable($1)';
create aggregate stable_total(int) (sfunc = stable_step, stype = int, initcond = '0');
create domain noted_int as int check (note('k') = value or note('k') > 0);
create domain noted_deep as noted_int;
create type noted_pair as (one noted_int, two int);
create table noted_rows (n noted_int);
create function takes_noted(noted_int) returns int language sql stable as 'select $1::int';
-- Views, policies, partitions.
create view noted as select note('v') as one, a from t4;
create function reads_view() returns bigint language sql stable as 'select count(*) from noted';
create view noted_below as select n.one from noted n join t1 on true;
create view stepped as select nextval('steps') as one;
create view activity as select count(*) as n from pg_stat_activity where pid = pg_backend_pid();
create view last_step as select last_value from steps;
create view of_traced as select what from traced;
create view sure_view as select a, sure(b) as s, lower(c::text) as l, now() as n from t1 where a between 0 and 9;
create view sure_view_below as select s, count(*) over () from sure_view;
create materialized view kept as select note('m') as one;
create table policed (a int);
alter table policed enable row level security;
create policy p on policed using (note('p') = a);
create table policed_sure (a int);
alter table policed_sure enable row level security;
create policy p on policed_sure using (a = 1 or current_setting('search_path') = 'x');
create table policed_through (a int);
alter table policed_through enable row level security;
create policy p on policed_through using (exists (select from noted where one = a));
create view of_policed as select a from policed;
create table parts (k int) partition by list (k);
create table part_one partition of parts for values in (1);
create unlogged table part_two partition of parts for values in (2);
create view of_parts as select k from parts;
create table sure_parts (k int) partition by list (k);
create table sure_part_one partition of sure_parts for values in (1);

-- Of the generator's objects, some leave a trace.
create or replace function volatile() returns int language sql as 'select note(''volatile'')';
create or replace function app.f(int) returns int language plpgsql as 'begin return note(''f''); end';
create or replace function closed_text(text) returns text language plpgsql stable as
    'begin return $1 || volatile(); end';
create or replace function closed_bool(int) returns bool language plpgsql immutable as
    'begin return note(''b'') = 1; end';
create or replace view calls as select closed_one(id) + note('calls') as one, a from t4;
create or replace function app.rows() returns setof t2 language sql as 'select note(''r''), 2, 3';

insert into policed values (1);
insert into policed_through values (1);
insert into policed_sure values (1);
insert into parts values (1);
insert into sure_parts values (1);
truncate trace;
grant all on all tables in schema public, app, closed to probe;
grant all on all sequences in schema public, app to probe;
grant execute on all functions in schema public, app, closed to probe;
grant usage, create on schema public, app, closed to probe;
alter role probe login;
