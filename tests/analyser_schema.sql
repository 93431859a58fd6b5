-- The objects of analyser_oracle.rs, made by a superuser. `closed_…` functions PUBLIC may not execute.
create role probe;
create role loader login;
create schema app;
create schema closed;
create table t1 (a int, b int, c int, d int);
create table t2 (c int, d int, e int);
create table t4 (id int primary key, a int);
create table wide (id int, x int, y int, z int, salary int, data jsonb, tags int[]);
create table app.orders (id int, total int, status int);
create table app.t1 (z int);
create type pair as (one int, two int);
create table boxes (id int, p pair);
create view v as select id, salary from wide;
create table child (extra int) inherits (t2);
create sequence seq;
create function add(int, int) returns int language sql immutable as 'select 1';
create function add(text, text) returns text language plpgsql as 'begin return 1; end';
create function app.rows() returns setof t2 language sql as 'select 1, 2, 3';

-- Overloads that differ in what they need.
create function open(int) returns int language plpgsql immutable as 'begin return $1; end';
create function closed_one(int) returns int language plpgsql immutable as 'begin return $1; end';
create function closed_text(text) returns text language plpgsql immutable as 'begin return $1; end';
create function closed_bool(int) returns bool language plpgsql immutable as 'begin return true; end';
create function mixed(int) returns int language plpgsql immutable as 'begin return $1; end';
create function mixed(text) returns int language plpgsql immutable as 'begin return 1; end';
create function mixed(numeric, int default 1) returns int language plpgsql immutable as 'begin return 1; end';
create function mixed(date, variadic int[]) returns int language plpgsql immutable as 'begin return 1; end';
create function mixed(anyarray) returns int language plpgsql immutable as 'begin return 1; end';
create function lower(int) returns text language plpgsql immutable as 'begin return 1; end';
create function lower(bool) returns text language plpgsql immutable as 'begin return 1; end';
create function abs(text) returns int language plpgsql immutable as 'begin return 1; end';
create function app.f(int) returns int language plpgsql immutable as 'begin return $1; end';
create function closed.f(int) returns int language plpgsql immutable as 'begin return $1; end';
create function closed.g(int) returns int language plpgsql immutable as 'begin return $1; end';
create function whole(t4) returns int language plpgsql immutable as 'begin return 1; end';
create function definer() returns int language sql immutable security definer as 'select 1';
create function volatile() returns int language sql as 'select 1';
create aggregate total(int) (sfunc = int4pl, stype = int, initcond = '0');
create aggregate total(text) (sfunc = textcat, stype = text, initcond = '');
create function closed_eq(int, int) returns bool language plpgsql immutable as 'begin return true; end';
create operator === (leftarg = int, rightarg = int, function = closed_eq);
create operator === (leftarg = text, rightarg = text, function = texteq);
create operator @@@ (rightarg = int, function = closed_one);
create operator app.=== (leftarg = int, rightarg = int, function = int4eq);
create domain guarded as int check (closed_bool(value));
create domain word as text;
create function word_eq(word, word) returns bool language plpgsql immutable as 'begin return true; end';
create operator >= (leftarg = word, rightarg = word, function = word_eq);
create table words (w word, t text, v varchar);
create domain plain as int check (value > -1000);
create domain guarded_list as int[] check (closed_bool(value[1]));
create type mood as enum ('sad', 'ok');
create type closed.mood as enum ('sad', 'ok');
create function closed_mood(mood) returns int language plpgsql immutable as 'begin return 1; end';
create cast (mood as int) with function closed_mood(mood);

-- Definitions that do something as whoever uses them.
create table serials (id serial, x int);
create view calls as select closed_one(id) as one, a from t4;
create view calls_below as select one from calls;
create view writes as select id, x from serials;
create table checked (id int, k int check (closed_bool(k)), l int default closed_one(1));
create table indexed (id int, k int);
create index on indexed (closed_one(k)) where closed_bool(id);
create table made (id int, k int generated always as (closed_one(id)) stored);
create table feelings (m mood, n int);
create table secured (a int, b int);
alter table secured enable row level security;
create policy p on secured using (exists (select from t2 where e = a)) with check (closed_bool(b));
create policy d on secured for delete using (a in (select s.a from secured s));

-- Who may do what.
revoke execute on function add(int, int), add(text, text), app.rows(), closed_one(int), closed_text(text),
    closed_bool(int), mixed(text), mixed(numeric, int), mixed(date, int[]), lower(bool), abs(text), closed.g(int),
    total(int), closed_eq(int, int), word_eq(word, word), closed_mood(mood), whole(t4) from public;
grant usage on schema public, app to public;

insert into t1 values (1, 2, 3, 4);
insert into t2 values (1, 2, 3);
insert into t4 values (1, 2);
insert into wide values (1, 2, 3, 4, 5, '[{"n": 1}]', '{1,2}');
insert into boxes values (1, (1, 2));
insert into serials (x) values (1);
insert into checked values (1, 2);
insert into indexed values (1, 2);
insert into made values (1);
insert into feelings values ('sad', 1);
insert into secured values (3, 3);
