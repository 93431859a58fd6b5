-- A statement a line: what a reader of MySQL's text may read otherwise than the servers do.
-- Executable comments: versions below, at and above the servers', nested, unended, around half a word.
select a from allowed where a = 0 /*!99999 union select token from secret */
select a from allowed where a = 0 /*!999999 union select token from secret */
select a from allowed where a = 0 /*!101119 union select token from secret */
select a from allowed where a = 0 /*!90704 union select token from secret */
select a from allowed where a = 0 /*!90800 union select token from secret */
select a from allowed where a = 0 /*M!999999 union select token from secret */
select a from allowed where a = 0 /*M! union select token from secret */ and 1 = 1
select a from allowed where a = 0 /*!00000 union select token from secret */
select a from allowed where a = 0 /*!5000 union select token from secret */
select a from allowed where a = 0 /*!500000 union select token from secret */
select a from allowed where a = 0 /*! and b = 'x */' union select token from secret -- '*/
select a from allowed where b = 'x' /* ' */ union select token from secret /* ' */
select a from allowed where a = 1 /* -- */ union select token from secret
select a from allowed where a = 1 /**/ union /**/ select /**/ token /**/ from /**/ secret
select/**/token/**/from/**/secret
select a from allowed where a = 1 /*/ union select token from secret /*/
select a from allowed where a = 1 /*!*/ union select token from secret /*!*/
select a from/*!allowed*/ where a = 1
select a from /*! secret, */ allowed
select /*!50000 token */ /*!999999 d */ from secret
delete from t1 /*!999999 where a = 1 */
update t1 set a = 1 /*!999999 where a = 1 */
update t1 set a = 1 /*!50000 , d = 4 */ where b = 1
delete from /*!50000 secret */ /*!999999 t1 */ where 1 = 0
/*! select token from secret */
/*!50000 select */ token from secret
/*+ x */ select token from secret
select /*+ max_execution_time(1000) */ token from secret
select /*+ no_such_hint(*/ token from secret /*)*/
-- Comments to the line's end.
select 1 --1 from secret
select 1 --	1 from secret
select 1 -- from secret
select a from allowed --union select token from secret
select a from allowed # ' union select token from secret # '
select a from allowed where b = '# ' union select token from secret
select a from allowed where b = '-- ' union select token from secret
select a from allowed where b = "# " union select token from secret -- "
-- Strings and quotes.
select a from allowed where b = 'a''b' union select token from secret
select a from allowed where b = 'a\'b' union select token from secret -- '
select a from allowed where b = 'a\\' union select token from secret -- '
select a from allowed where b = 'a\\\' union select token from secret -- '
select a from allowed where b = "a""b" union select token from secret
select a from allowed where b = "a\"b" union select token from secret -- "
select a from allowed where b = '"' union select token from secret where token = '"'
select a from allowed where b = '' '' union select token from secret
select a from allowed where b = n'x' union select token from secret
select a from allowed where b = _latin1'x' union select token from secret
select a from allowed where b = _latin1 x'27' union select token from secret
select a from allowed where b = _gbk'x' union select token from secret
select a from allowed where b = 0x27 union select token from secret
select a from allowed where b = b'100111' union select token from secret
select a from allowed where b = X'27' or b = '\x27' union select token from secret
select a from allowed where b like '%\_%' escape '\\' union select token from secret
select "token" from secret
select 'token' from secret
select `token` from `secret`
select `a``b` from `order`
select "a`b" from allowed where b = "`" union select `select` from `order`
select token`t` from secret`s`
select a as 'b' from t1 order by 'b'
select a as "b" from t1 having "b" > 0
-- Names.
select token from shop.secret
select token from `shop`.`secret`
select token from shop .secret
select token from shop. secret
select token from shop	.	secret
select token from .secret
select shop.secret.token from secret
select shop . secret . token from shop . secret
select .secret.token from secret
select secret.* from secret
select shop.secret.* from secret
select s.* from secret s, allowed
select TOKEN from secret
select token from SECRET
select token from Shop.secret
select id, NAME from Mixed
select Mixed.Id from Mixed
select mixed.id from Mixed
select m.ID from Mixed as m
select M.ID from Mixed as m
select d from v_secret where v_secret.d = 1
select v_secret.token from v_secret
select `select` from `order` where `order`.`select` = 1
select 1t.a from t1 1t
select `1t`.a from t1 `1t`
select t1.a from t1 as `t1`
select secret.a from allowed as secret
select secret.token from allowed as secret
select allowed.token from secret as allowed
select a from allowed secret, secret allowed
select token from (secret)
select token from ((secret))
select token from (secret, allowed)
select token from {oj secret left join allowed on d = a}
select token from dual, secret
select 1 from dual
select token from secret partition (p0)
select a from parts partition (p0, p1)
select rownum from secret
select _rowid from secret
select t1._rowid from t1
-- Options in front of names, key words as names.
select sql_cache token from secret
select sql_no_cache token from secret
select sql_calc_found_rows token from secret
select sql_small_result distinct token from secret
select distinctrow token from secret
select high_priority straight_join token from secret
select all token from secret
select ignore from allowed
update ignore secret set token = 'x'
update low_priority secret set token = 'x'
update low_priority ignore secret set token = 'x'
insert ignore secret (d) values (99)
insert delayed into secret (d) values (99)
insert low_priority secret values (99, 'x')
insert into secret value (99, 'x')
insert secret select 99, 'x'
insert into secret (d) select a from allowed
insert into allowed select * from secret
insert into allowed table secret
insert into allowed (a) values (1), ((select max(d) from secret))
insert into allowed (a, b) values (1, (select token from secret limit 1)) on duplicate key update b = (select token from secret limit 1)
insert into allowed (a) select 1 from dual on duplicate key update a = 2
insert into made (a) values (1) as fresh on duplicate key update c = fresh.a
insert into made (a) values (1) as fresh (x) on duplicate key update c = x + made.c
insert into t1 (a) values (b)
insert into t1 (a, b) values (1, a + 1)
insert into t1 (a) values (default(b))
insert into t1 set a = b + 1, c = default
insert into shop.t1 (t1.a, shop.t1.b) values (1, 2)
insert into t1 () values ()
insert into t1 values ()
replace secret set d = 99
replace low_priority into t1 (a) select d from secret
delete low_priority quick ignore from secret
delete secret from secret
delete secret.* from secret
delete shop.secret from shop.secret
delete from shop.secret using shop.secret
delete s from secret as s
delete secret from secret as s
delete s, a from secret s join allowed a
delete from s, a using secret s join allowed a on s.d = a.a
delete from secret where d in (select a from allowed)
delete from allowed where a in (select d from secret)
delete t1 from t1, (select d from secret) q where t1.a = q.d
update secret s join allowed a on s.d = a.a set a.b = s.token
update secret s, allowed a set s.token = 'x' where s.d = a.a
update allowed set b = (select token from secret limit 1)
update allowed set a = a + 1, b = concat(b, a)
update allowed a set a.a = default(a.b)
update allowed left join secret on true set allowed.a = 1
update (select d from secret) q join allowed set allowed.a = q.d
update v_open set a = 1 where b = 2
update v_join set token = 'x'
insert into v_join (a) values (1)
delete from v_secret where d = 1
update t1 set a = 1 order by (select max(d) from secret)
update t1 set a = values(a)
-- Queries in places.
select token from secret union all select b from allowed
select a from allowed union (select d from secret order by token limit 1)
(select a from allowed) union (select d from secret) order by a limit 1
((select a from allowed))
select a from allowed except select d from secret
select a from allowed intersect select d from secret
values (1, 2)
values row(1, 2), row((select max(d) from secret), 1)
table secret
table secret order by token limit 1
(table secret) union table secret
select a from allowed union table secret
select * from (table secret) q
select (table one)
select a from allowed where a in (table one)
select * from (values (1, 2)) q
select * from (values row(1, 2)) q
select a from allowed limit 1 offset 1
select a from allowed limit 1, 1
select a from allowed limit 1 for share
select a from allowed for update
select a from allowed for update skip locked
select a from allowed join secret for update of allowed
select a from allowed lock in share mode
select a from t1 group by b with rollup
select a, count(*) from t1 group by a having max(d) > (select min(d) from secret)
select a from t1 order by (select token from secret limit 1)
select a from t1 limit 1 into @x
select a, b into @x, @y from t1 limit 1
select token into @x from secret limit 1
select d from secret into outfile '/tmp/out'
select d into dumpfile '/tmp/dump' from secret limit 1
select @x := (select max(d) from secret)
select a, rank() over (order by b) from t1
select sum(a) over w from t1 window w as (partition by b order by c)
select a from t1 where exists (select * from secret where secret.d = t1.d)
select a from t1 where a = any (select d from secret)
select a from t1 where (a, b) = (select d, 1 from secret limit 1)
select a from t1 where row(a, b) in (select d, d from secret)
select a from t1 where a between (select min(d) from secret) and 9
select case a when (select d from secret limit 1) then 1 end from t1
select if((select count(*) from secret), 1, 2)
select interval(1, (select d from secret limit 1))
select date_add(now(), interval (select d from secret limit 1) day)
select cast((select d from secret limit 1) as char)
select convert((select token from secret limit 1) using utf8mb4)
select json_object('a', (select token from secret limit 1))
select json_arrayagg(token) from secret
select group_concat(token order by d desc separator ', ') from secret
select count(distinct token, d) from secret
select trim(both 'x' from token) from secret
select extract(day from token) from secret
select substring(token from 1 for 2) from secret
select match (b) against ('x') from allowed
select * from json_table('[1]', '$[*]' columns (x int path '$')) q
select q.x from secret, json_table(token, '$[*]' columns (x int path '$')) q
select * from allowed a, lateral (select d from secret where secret.d = a.a) q
select 1 from allowed a where a.a = (select s.d from secret s where s.token = a.b)
select (select a.b from (select 1) q) from allowed a
select 1 from t1 natural join t2
select * from t1 natural join t2
select c from t1 join t2 using (c, d)
select t1.a from t1 left join t2 using (c)
select * from t1 join t2 using (c)
select 1 from t1 join t2 on (select count(*) from secret) > 0
select sum(secret.d) from t1 join secret
select count(*) from secret
select count(1) from secret
select 1 from secret
select null from secret limit 0
select a from t1 where 1 = 0 and d = 1
select a from allowed where 1 or (select token from secret)
-- WITH.
with s as (select token from secret) select 1
with s as (select token from secret) select 1 from s
with secret as (select 1 as token) select token from secret
with secret as (select 1 as token) select token from shop.secret
with s as (select * from secret), t as (select * from s) select d from t
with s (x, y) as (select * from secret) select x from s
with recursive r (n) as (select 1 union all select n + 1 from r where n < 3) select n, token from r, secret
with recursive r as (select d from secret union select d from r) select * from r
with t1 as (select 1 as a) select t1.a, t.b from t1, shop.t1 t
with s as (select token from secret) select a from allowed where b in (select token from s)
select a from allowed where b in (with s as (select token from secret) select token from s)
with s as (select d from secret) delete from t1 where a in (select d from s)
with s as (select d from secret) update t1 set a = 1 where b in (select d from s)
with t1 as (select 1 as a) update t1 set a = 2
insert into allowed (a) with s as (select d from secret) select d from s
-- Views and routines.
select * from v_secret
select * from v_invoker
select * from v_over
select * from v_over_invoker
select * from v_deep
select * from v_join
select * from v_open
select count(*) from v_deep
select 1 from v_over_invoker
explain select * from v_over
explain select * from v_join
explain select 1 from v_invoker
explain extended select * from v_secret
explain format=json select * from v_secret
describe v_secret
show columns from v_join
show create view v_secret
show create table v_secret
show create view v_deep
show create view secret
select f(1)
select f (1)
select shop.f(1)
select `f`(1)
select F(1)
select peek()
select peek_invoker()
update allowed set a = peek_invoker()
select shop . peek ()
select peek() from allowed
select max(peek()) from t1
select a from t1 where a > peek()
insert into allowed (a) values (peek())
update allowed set a = peek()
set @x = peek()
do peek()
select crm.f(1)
select q(1)
call p(1, 2)
call p(peek(), 1)
call shop.p_read()
call p_read
call shop . p_read ()
call crm.q((select max(d) from secret))
call f(1)
call nosuch()
insert into logged values (1)
insert into logged (a) select d from secret
insert into child values (9, 9)
delete from parent
update parent set id = 7
-- What reads files.
select load_file('/etc/hostname')
select load_file(concat('/etc/', 'hostname'))
load data infile '/tmp/x' into table t1
load data infile '/tmp/x' ignore into table allowed (a, @b) set b = (select token from secret limit 1)
load data local infile 'x' into table t1 (a)
load data local infile 'x' replace into table t1 (a)
load data local infile 'x' into table secret (d, token)
load data local infile 'x' into table allowed (a) set b = (select token from secret limit 1)
load xml local infile 'x' into table t1
load data concurrent local infile 'x' into table v_open (a)
-- HANDLER, DO, SET, PREPARE.
handler secret open
handler shop.secret open as h
handler secret read first
do 1
do sleep(0)
do (select token from secret limit 1)
set @x = (select token from secret limit 1)
set @x := (select token from secret limit 1), @y = 1
set @@session.sort_buffer_size = (select max(d) from secret)
set session max_statement_time = 5
set global max_connections = 100
set @@global.max_connections = 100
set persist max_connections = 100
set sql_log_bin = 0
set session binlog_format = row
set session sql_log_off = 1
set names utf8mb4
set names latin1
set character set utf8mb4
set session transaction isolation level read committed
set transaction read only
set time_zone = '+00:00'
set password = password('x')
set password for root@localhost = 'x'
set role none
set role nosuch
set default role none
prepare s from 'select token from secret'
prepare s from "select token from secret"
prepare s from 'delete from secret'
prepare s from 'prepare t from ''select 1'''
execute immediate 'select token from secret'
execute immediate 'delete from secret where d = ?' using 1
execute immediate 'drop table secret'
execute nosuch
deallocate prepare nosuch
set statement max_statement_time = 1 for select token from secret
set statement max_statement_time = 1 for delete from secret
set statement sort_buffer_size = 100000 for update secret set token = 'x'
begin not atomic select token from secret; end
if 1 then select token from secret; end if
-- Transactions, locks, sessions.
start transaction read only
begin work
savepoint a
rollback to a
release savepoint a
commit release
xa start 'a'
xa recover
lock tables secret read
lock tables secret write
lock tables secret as s read, allowed write
lock tables v_secret read
lock tables crm.orders read
lock table secret read
lock instance for backup
unlock tables
use crm
use mysql
use closed
use nosuch
use information_schema
use performance_schema
kill 1
kill query 1
kill connection 1
kill hard query 1
flush tables
flush tables secret
flush tables secret with read lock
flush tables with read lock
flush privileges
flush status
flush logs
reset master
reset query cache
shutdown
binlog 'x'
change master to master_host = 'x'
start slave
stop replica
purge binary logs before now()
install plugin x soname 'x.so'
uninstall plugin x
-- SHOW and EXPLAIN.
show tables
show full tables
show tables from crm
show tables from closed
show tables from mysql
show tables where tables_in_shop in (select token from secret)
show databases
show databases where 1 = (select count(*) from secret)
show table status
show table status from crm
show open tables
show columns from secret
show full columns from secret
show columns from secret where field in (select token from secret)
show fields from crm.orders
show index from secret
show keys from secret from shop
show create table secret
show create table crm.orders
show create table closed.vault
show create database shop
show create database closed
show create function f
show create function peek
show create procedure p
show create procedure p_read
show create trigger logged_too
show function status
show procedure status
show function code f
show triggers
show triggers from crm
show events
show events from crm
show grants
show grants for root@localhost
show grants for current_user
show privileges
show processlist
show full processlist
show engine innodb status
show engines
show plugins
show variables like 'version'
show global variables like 'version'
show status like 'Uptime'
show global status like 'Uptime'
show warnings
show errors
show count(*) warnings
show binary logs
show master status
show slave status
show replica status
show slave hosts
show binlog events
show collation like 'utf8mb4_bin'
show character set like 'utf8mb4'
show profiles
show explain for 1
show locales
show user_statistics
describe secret
desc secret token
desc secret 'to%'
describe shop.secret
describe closed.vault
explain secret
explain select token from secret
explain extended select token from secret
explain partitions select a from parts
explain delete from secret
explain update secret set token = 'x'
explain insert into secret values (99, 'x')
explain replace into secret values (99, 'x')
explain format=json delete from secret where d = 1
explain analyze select token from secret
explain for connection 1
explain table secret
analyze select token from secret
analyze format=json select token from secret
analyze update secret set token = 'x'
analyze delete from secret
analyze table secret
analyze table t1, crm.orders
check table secret
checksum table secret
optimize table secret
repair table secret
help 'select'
-- The server's own.
select * from information_schema.tables where table_schema = 'shop'
select * from information_schema.columns where table_name = 'secret'
select * from information_schema.schemata
select * from information_schema.views
select view_definition from information_schema.views
select * from information_schema.routines
select * from information_schema.triggers
select * from information_schema.events
select * from information_schema.processlist
select * from information_schema.user_privileges
select * from information_schema.table_privileges
select * from information_schema.innodb_trx
select * from information_schema.innodb_metrics
select * from INFORMATION_SCHEMA.TABLES
select * from information_schema.nosuch
select user from mysql.user
select * from mysql.global_priv
select * from mysql.db
select * from mysql.proc
select * from mysql.help_topic limit 1
select * from performance_schema.threads
select * from performance_schema.global_variables limit 1
select * from performance_schema.session_status limit 1
select * from performance_schema.events_statements_current
select * from sys.version
select * from sys.processlist
insert into mysql.db (host) values ('x')
update mysql.user set user = 'x'
delete from mysql.tables_priv
insert into information_schema.tables (table_name) values ('x')
drop table mysql.user
select @@version, @@hostname, @@session.sql_mode
select @@global.max_connections
select @@datadir
select @@global.secure_file_priv
select user(), current_user(), session_user(), connection_id()
select get_lock('daypass', 0), release_lock('daypass'), is_free_lock('daypass')
select sleep(0), benchmark(1, 1)
select master_pos_wait('x', 1, 1)
select sys_exec('id')
select uuid(), rand(), last_insert_id(), row_count(), found_rows()
select updatexml(1, concat(0x7e, (select token from secret limit 1)), 1)
select extractvalue(1, concat(0x7e, (select token from secret limit 1)))
select name_const('x', (select max(d) from secret))
select @@secret.token
select procedure_name from secret procedure analyse()
-- Sequences.
select next value for seq
select nextval(seq), lastval(seq)
select previous value for seq
select setval(seq, 5)
select nextval(shop.seq)
select * from seq
insert into allowed (a) values (nextval(seq))
alter sequence seq restart 1
drop sequence seq
create sequence n
create table n (a int default (next value for seq))
-- Definitions.
create table n (a int)
create table if not exists t1 (a int)
create or replace table n (a int)
create table n like secret
create table n (like secret)
create table n select * from secret
create table n as select token from secret
create table n (x int) select token from secret
create table n ignore select d from secret
create table n as (select d from secret)
create table n as table secret
create table n as with s as (select d from secret) select * from s
create table n (a int, foreign key (a) references parent (id))
create table n (a int references parent (id))
create table n (a int) engine=merge union=(secret)
create table n (a int) engine=federated connection='mysql://root@localhost/shop/secret'
create table n (a int) data directory='/tmp/'
create table n (a int) engine=csv
create table n (a int generated always as (peek()))
create table n (a int check (a > peek()))
create table n (a int default (peek()))
create table n (a int default (select max(d) from secret))
create table n (a int) partition by hash (a) partitions 2
create table nosuch.n (a int)
create table closed.n (a int)
create temporary table n (a int)
create temporary table n as select token from secret
create temporary table secret (d int)
create temporary table n like secret
create view w as select token from secret
create view w (x) as select d from secret
create or replace view v_open as select d from secret
create view w as select * from v_secret
create view w as select peek()
create view w as select a from allowed with check option
create sql security invoker view w as select 1
create definer=owner@localhost view w as select token from secret
create definer=current_user view w as select 1
create algorithm=merge view w as select a from t1
alter view v_open as select token as a from secret
alter algorithm=merge view v_open as select a from t1
create index i on secret (token)
create unique index i on t1 (a)
alter table secret add column x int
alter table secret drop column token
alter table secret rename to t9
alter table secret rename crm.s
alter table secret rename column token to x
alter table secret change token x varchar(50)
alter table secret add index (token)
alter table secret drop primary key
alter table child add foreign key (parent) references parent (id)
alter table child drop foreign key child_ibfk_1
alter table parts drop partition p0
alter table parts truncate partition p0
alter table parts exchange partition p0 with table t2
alter table parts coalesce partition 1
alter table parts analyze partition p0
alter table secret engine=memory
alter table secret convert to character set latin1
alter table secret discard tablespace
alter table secret order by d
alter table v_open add x int
alter ignore table secret add x int
alter database shop character set utf8mb4
alter database closed character set utf8mb4
drop table secret
drop table if exists nosuch
drop table nosuch
drop table t1, secret
drop tables secret
drop temporary table secret
drop view v_secret
drop view if exists nosuch
drop table v_secret
drop view secret
drop index ft on t1
drop index `primary` on secret
drop database closed
drop database nosuch
drop view v_root
create or replace view v_root as select 1 as a
alter view v_root as select 1 as a
drop function peek
drop function f
drop procedure p_read
drop function if exists nosuch
drop procedure p
drop trigger logged_too
drop event nosuch
truncate secret
truncate table t1
truncate table v_open
rename table secret to t9
rename table secret to t9, allowed to secret
rename table secret to crm.s
rename tables t1 to n
create database w
create schema if not exists w
create function w() returns int return 1
create function w returns string soname 'x.so'
create procedure w() select token from secret
create trigger w before insert on t1 for each row set new.a = 1
create event w on schedule every 1 day do delete from secret
alter event nosuch disable
alter function f comment 'x'
alter procedure p sql security invoker
create user w
create user w identified by 'x'
drop user root@localhost
alter user root@localhost identified by 'x'
rename user root@localhost to w
create role w
grant select on shop.secret to party0@localhost
grant all on *.* to party0@localhost
revoke select on shop.marker from party0@localhost
revoke all privileges, grant option from party0@localhost
create server w foreign data wrapper mysql options (host 'x')
create tablespace w add datafile 'w.ibd'
create undo tablespace w add datafile 'w.ibu'
create resource group w type = user
-- Several statements.
select a from allowed; select token from secret
select a from allowed;
select a from allowed;;
; select token from secret
select 1; delete from secret
select 1; drop table secret
delete from t1; insert into secret (d) values (99)
begin; update secret set token = 'x'; rollback
select a from allowed; select 'x;y' from secret
select a from allowed -- ; select 1
set @x = 1; select token from secret
use crm; select * from orders
use crm; select token from secret
