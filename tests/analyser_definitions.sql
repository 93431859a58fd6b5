-- Definitions that analyser_oracle.rs asks the server about, one a line. `> ` in front: more
-- is asked for than the server wants, on purpose.

-- What is made.
create table app.x (a int)
create table x (id serial primary key, a int default 1 check (a > 0), unique (a))
create table app.x (a int generated always as identity)
create table if not exists app.x (a int)
create unlogged table app.x (a int)
create table app.x (a int references keyed (id))
create table app.x (a int, b int, foreign key (a, b) references keyed (one, two))
create table app.x (a int references keyed)
create table app.x (like keyed)
create table app.x (like keyed including all)
create table app.x () inherits (t2)
create table app.x () inherits (t2, app.orders)
create table app.x partition of app.parts for values in (7)
create table app.x as select a from t1
> create table app.x as table t1 with no data
select a into app.x from t1
create materialized view app.x as select a from t1
create view app.x as select 1 as a
> create view app.x as select a from t1
create or replace view app.x as select 1 as a
create or replace view app.shown as select 1 as a
create sequence app.x
> create sequence x owned by t4.a
create type app.x as (a int)
create type app.x as enum ('a')
create domain app.x as int check (value > 0)
create schema x
create schema if not exists x

-- What is altered.
alter table app.orders add column x int
alter table app.orders add column if not exists id int
alter table app.orders drop column total
alter table app.orders alter total type bigint
alter table app.orders alter total set default 1
alter table app.orders alter total set not null
alter table app.orders alter total set statistics 100
alter table app.orders add check (id > 0)
alter table app.orders add constraint k check (id > 0) not valid
alter table app.orders add primary key (id)
alter table app.orders add unique (id)
alter table app.orders add exclude (id with =)
alter table app.orders add column x int primary key
alter table app.orders add column x serial
alter table app.orders add column x int generated always as identity
alter table app.orders alter id set not null, alter id add generated always as identity
alter table app.orders add foreign key (id) references keyed (id)
alter table app.orders add column x int references keyed (id)
alter table keyed add foreign key (two) references keyed (id)
alter table keyed drop constraint keyed_self
alter table keyed alter constraint keyed_self deferrable
alter table keyed validate constraint keyed_self
alter table keyed cluster on keyed_pkey
alter table app.orders enable row level security
alter table app.orders set (fillfactor = 50)
alter table app.orders replica identity full
alter table app.orders disable trigger all
alter table app.orders set schema public
alter table app.orders rename to x
alter table app.orders rename total to x
alter table keyed rename constraint keyed_self to x
alter table if exists app.orders rename to x
alter table app.orders inherit app.lone
alter table t2 add column x int
alter table only t2 alter c set default 1
alter table t2 drop column c
alter table t2 rename c to x
alter table t2 alter c type bigint
alter table t2 set (fillfactor = 50)
alter table t2 enable row level security
alter table app.parts add column x int
alter table app.parts add primary key (k)
alter table app.parts attach partition loose for values in (9)
> alter table app.parts detach partition app.part_one
alter table app.orders alter total set storage plain
alter view app.shown alter a set default 1
alter view app.shown rename to x
alter view app.shown set (security_barrier)
alter view app.shown set schema public
alter materialized view app.kept rename to x
alter materialized view app.kept set schema public
alter index keyed_pkey rename to x
alter index keyed_pkey set (fillfactor = 50)
alter sequence app.counted restart
alter sequence app.counted rename to x
alter sequence app.counted set schema public
alter sequence numbered_id_seq increment 2
alter sequence app.counted owned by none
alter type app.point add attribute z int
alter type app.point rename attribute x to z
alter type app.state add value 'third'
alter type app.state rename to other
alter type app.state rename value 'first' to 'none'
alter domain app.small set not null
alter domain app.small add check (value > 0)
alter statistics app.spread set statistics 10
alter statistics app.spread rename to x

-- What hangs on a relation.
create index on app.orders (id)
create unique index x on app.orders (id) where total > 0
create index on app.parts (k)
create index on app.kept (a)
create statistics app.x on id, total from app.orders
create policy p on app.orders using (id > 0)
> create policy p on app.orders using (id in (select a from t1))
alter policy first on ruled using (a > 1)
alter policy first on ruled rename to x
drop policy first on ruled
drop rule second on ruled
drop trigger third on ruled
alter rule second on ruled rename to x
alter trigger third on ruled rename to x
comment on table app.orders is 'x'
comment on column app.orders.id is 'x'
comment on constraint keyed_self on keyed is 'x'
comment on index keyed_pkey is 'x'
comment on view app.shown is 'x'
comment on materialized view app.kept is 'x'
comment on sequence app.counted is 'x'
comment on policy first on ruled is 'x'
comment on rule second on ruled is 'x'
comment on trigger third on ruled is 'x'
comment on type app.state is 'x'
comment on domain app.small is 'x'
comment on statistics app.spread is 'x'

-- What is dropped.
drop table app.orders
drop table if exists app.orders, app.lone
drop table app.parts
drop view app.shown
drop materialized view app.kept
drop index keyed_pkey_not
drop sequence app.counted
drop type app.state
drop type app.point
drop domain app.small
drop statistics app.spread

-- Upkeep: what a transaction may contain of it.
reindex table keyed
reindex index keyed_pkey
cluster keyed using keyed_pkey
refresh materialized view app.kept
truncate app.orders
> truncate numbered restart identity
