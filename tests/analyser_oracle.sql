-- One statement a line for analyser_oracle.rs; `NN| ` in front: only from that major version on.
select a from t1
select from t1
select count(*) from t1
select 1 from t1 where b > 0
select * from t1
select t1 from t1
select t1.* from t1
select count(t1) from t1
select count(t1.*) from t1
select row_to_json(t1) from t1
select row_to_json(q) from (select a from t1) q
select (t4).id from t4
select (b.p).one from boxes b
select p from boxes
select b.one from (select (p).* from boxes) b
select ctid, xmin, tableoid::regclass, a from t1
select public.t1.a from public.t1
select public.t1.* from public.t1, app.t1
select t1.a from t1 join t2 using (c)
select c from t1 join t2 using (c, d)
select * from t1 natural join t2
select t1.b from t1 natural left join t2
select j.b from (t1 join t4 on t1.a = t4.id) j (p, b)
select j from (t1 join t4 on t1.a = t4.id) j
14| select u.c, t1.a from t1 join t2 using (c) as u
select u from t1 join t2 using (c) full join wide u on true where false
select x.a, y.a from t1 x, t1 y where x.b = y.c
select q.one from t4 q (one)
select a from t1 order by b, c desc
select a as b from t1 order by b
select a as b from t1 order by b + 1
select a as b from t1 group by b, a
select a as k from t1 group by k
select a as k, count(*) from t1 group by k having max(b) > 0
select distinct on (k) a as k, b from t1
select a, sum(b) over (partition by c order by d) from t1
select a, sum(b) over w from t1 window w as (partition by c order by d rows 1 preceding)
select grouping(a), a from t1 group by rollup (a, b), c
select a from t1 group by grouping sets ((a, b), (a), cube (a, c))
select a from t1 limit (select id from t4) offset (select a from t4) * 0
select (select max(e) from t2 where t2.c = t1.a) from t1
select (select a) from t4
select exists (select from t2 where e = b) from t1
select array(select c from t2), 1 = any (select d from t2), (1, 2) in (select c, d from t2) from t4
select a from t1 where (b, c) = (select c, d from t2)
select a from t1 where a > all (select e from t2)
select q.k from t1, lateral (select t1.b as k) q
select q.k from t1 cross join lateral (select b as k from t4 where t4.id = t1.a) q
select (select s.z from t1 as x, (select t1.b as z) s) from t1
select * from only t2
select * from t2
select * from child
table t4
table t4 union table t4 order by a
select a from t1 union all select e from t2 union all select id from t4
(select a from t1 order by b) intersect (select c from t2 limit 1) except values (1)
select a from t1 union select c from t2 order by 1
values ((select a from t1)), (2)
select column1 from (values (1, 2), (3, 4)) q where column2 > 2
with q as (select a from t1) select * from q
with q (k) as (select a, b from t1) select k from q
with q as materialized (select a, b from t1) select a from q
with t1 as (select 1 as a) select a from t1
with t1 as (select * from t1) select a from t1
with x as (select id from t4), y as (select id from x) select * from y
with x as (select * from app.t1), t4 as (select 1 as one) select x.z, t4.one from x, t4
with recursive r (n) as (values (1) union all select n + 1 from r where n < 4) select sum(n) from r
with recursive r as (select id, a from t4 union select t4.id, t4.a from t4 join r on r.a = t4.id) select id from r
with recursive r as (select id, a from t4 union all select t4.id, t4.a from t4, r where t4.id = r.a and false) search depth first by id set ord cycle id set looped using path select id, ord, looped from r order by ord
with recursive x as (select * from y), y as (select id from t4) select * from x
select (with q as (select t1.a) select a from q) from t1
with q as (insert into t2 (c) values (1) returning d) select d from q
with q as (delete from t1 where a = 5 returning b) update t4 set a = q.b from q where id = q.b
with q as (update t1 set a = b returning *) insert into t2 select a, b, c from q
with t4 as (select 1) delete from t4
select a from t1 for update
select a from t1 for share of t1 skip locked
select t1.a from t1, t2 for update of t2
select q.a from (select a from t1) q for update
select q.a from (select a from t1 join t4 using (a)) q for no key update
select salary from v for update
select g from generate_series(1, 3) g
select g.* from generate_series(1, 3) with ordinality g (n, o) order by o
select e.value, w.id from wide w, jsonb_array_elements(w.data) e
select value from wide, jsonb_array_elements(data)
select u from wide, unnest(tags) u
select * from rows from (generate_series(1, 2), unnest(array[3, 4])) as q (x, y)
select x.n from wide w, jsonb_to_recordset(w.data) as x (n int)
select x.n from wide w cross join lateral jsonb_to_recordset(data) as x (n int)
select x.n from xmltable('/a' passing '<a><n>1</n></a>' columns n int path 'n') x
17| select jt.n from wide, json_table(data, '$[*]' columns (n int path '$.n')) jt
select r.c from app.rows() r
select * from app.rows()
select (app.rows()).d
select add(a, b) from t1
select add(1, 2), add('x', 'y')
select case a when b then c else (select id from t4) end from t1
select array[a, b], row(c, d), coalesce(a, b), greatest(c, d), nullif(a, d) from t1
select a between b and c, d is null, a in (b, 1), a is distinct from b, not (a > b) from t1
select tags[id:x], tags[y] from wide
select data -> 'x', data #>> '{}', data @> '{}' from wide
select a::text, cast(b as bigint), c::numeric(5, 2), d::text collate "C" from t1
select string_agg(a::text, ',' order by b) filter (where c > 0) from t1
select percentile_cont(0.5) within group (order by salary) from wide
select extract(day from now()), current_date, current_user, now() at time zone 'UTC', overlay('abc' placing 'x' from 1), position('a' in 'b'), substring('abc' from 2 for 1), trim('x')
select xmlelement(name x, xmlattributes(a as y), b), xmlforest(c) from t1
16| select json_object('k': a, 'v': b), json_arrayagg(c order by d), json_objectagg(a: b) from t1
16| select data is json, data is json array from (select data::text from wide) q
17| select json_value(data, '$[0].n' returning int default x on empty), json_query(data, '$' passing y as z), json_exists(data, '$') from wide
select * from t1 tablesample bernoulli (100) repeatable (3)
select salary from v
select v from v
select nextval('seq')
select nextval('public.seq'::regclass), setval('seq', 5)
select last_value from seq
select currval('seq') from (select nextval('seq')) q
select relname from pg_class limit 1
select t1.a, c.relname from t1, pg_class c limit 1
select pg_get_viewdef('v'::regclass), has_table_privilege('t1', 'select'), pg_relation_size('t1')
select n.nspname, c.relname from pg_catalog.pg_class c left join pg_catalog.pg_namespace n on n.oid = c.relnamespace where pg_catalog.pg_table_is_visible(c.oid) limit 2
select coalesce from (select coalesce(1, 2)) q
select "case", int4, "array", "exists", "row" from (select case when true then 1 end, 1::int4, array[1], exists (select), row(1)) q
select max, "?column?", current_user, greatest from (select (select max(a) from t1), 1 + 1, current_user, greatest(1, 2)) q
select z from (select (select * from app.t1)) q
select one from (select (p).one from boxes) q
select id from (select ((select id from t4))) q
select (select salary from (select id from t4) q) from wide
select date_part from (select date_part('day', now())) q
select xmlconcat, xmlforest from (select xmlconcat('<a/>'), xmlforest(1 as b)) q
select text, date from (select 'x'::text, '2020-01-01'::date) q
select "case" from (select (case when true then 1 end)) q
select int4 from (select (case when true then '1' end)::int4) q
select tags from (select tags[1] from wide) q
select column1 from (select (values (1))) q
insert into t4 values (10, 2)
insert into t4 (id) values (10)
insert into t4 (id) values (10) returning id, a
insert into t4 values (10)
insert into t4 default values on conflict do nothing
insert into t4 select a + 50, b from t1
insert into t4 (a, id) select b, a + 50 from t1 order by c
insert into t4 table t4 on conflict do nothing
insert into t4 as q values (1, 2) on conflict (id) do nothing
insert into t4 as q values (1, 2) on conflict (id) do update set a = excluded.a + q.a where q.id = 1 returning q.*
insert into t4 (id) values (1) on conflict (id) do update set a = excluded.id
insert into t4 (id) values (1) on conflict on constraint t4_pkey do nothing
insert into t4 (id) values (1) on conflict on constraint t4_pkey do update set a = 1
insert into t4 values (10, default), (11, (select max(e) from t2))
insert into wide (id, tags[1]) values (1, 2)
insert into boxes (id, p.one) values (1, 2)
insert into v (id) values (5)
18| insert into t4 (id) values (30) returning old.a, new.id
18| update t4 set a = 9 returning with (old as o, new as n) o.a, n.id
update t1 set a = 1
update t1 set a = b where c > 0
update t1 x set (a, b) = (select c, d from t2 where t2.c = x.d), c = default
update t1 set (a, b) = row(c, d)
update t1 set a = t4.a from t4 where t4.id = t1.b returning t1.c, t4.id
update t1 set a = 1 from t4 join t2 on t4.id = t2.c
update only t2 set c = 1 where false
update wide set tags[x] = y, id = id + 1
update boxes set p.one = 3
update v set salary = 1 where id = 1
update t1 set a = 1 returning *
delete from t1
delete from t1 where a = 1
delete from t1 using t4 where t1.a = t4.id returning t1.b
delete from t1 x where exists (select from t2 where t2.c = x.a)
delete from only t2 returning e
delete from v where salary = 1
15| merge into t4 using t1 on t4.id = t1.a when matched then update set a = t1.b when not matched then insert (id, a) values (t1.c, t1.d)
15| merge into t4 t using (select a, b from t1) s on t.id = s.a when matched and t.a > 100 then delete when matched then do nothing
15| merge into t4 using t2 on id = c when not matched then insert values (77)
15| merge into t4 using t2 on id = c when not matched then insert default values
15| with t4 as (select 9 as k) merge into t4 using t4 s on t4.id = s.k when matched then delete
17| merge into t4 using t2 on id = c when not matched by source then delete when matched then do nothing returning merge_action(), t4.a
select nothing from t1
select t1.nothing from t1
select nothing.a from t1
select * from nothing
select * from nowhere.t1
select d from t1, t2
select d from t1 join t2 on t1.c = t2.c
select t1.a from t1, app.t1
select a from t1 x (p)
select t1.a from t1 x
select s.a from t1, (select t1.b) s
select 1 from t4, t1 join t2 on t4.id = t2.e
select q.z from (select 1 as a) q
select a from (select 1 as a, 2 as a) q
insert into t4 (nothing) values (1)
update t1 set nothing = 1
delete from nothing
select nothing(1)
select 1::nothing
with x as (select * from y), y as (select 1) select * from x
select ctid from v
select ctid from t1 join t4 on true
select app.nothing()
select nowhere.nothing()
select open(1), open(a) from t1
select closed_one(1)
select closed_one(a), closed_text('x') from t1
select closed_text(a::text) from t1
select mixed(1), mixed(a) from t1
select mixed('x')
select mixed('x'::text)
select mixed(1.5), mixed(1.5, 2)
select mixed(a::bigint) from t1
select mixed(current_date, 1, 2), mixed('2020-01-01'::date, variadic array[1])
select mixed(tags), mixed('{1}'::int[]) from wide
select mixed(null)
select mixed(b => 1)
select lower(1), lower(a), lower('X'), lower('X'::text) from t1
select lower(true), lower(a > 1) from t1
select lower(a is null), lower(not a = 1), lower(exists (select)) from t1
select abs(1), abs(a), abs(-1.5), abs('1'::text) from t1
select abs('1')
select app.f(1), closed.f(1)
select closed.g(a) from t1
select closed.f(closed.g(open(1)))
select whole(t4) from t4
select t4.whole from t4
select (t4).whole from t4
select definer(), volatile()
select total(a) from t1
select total(a::text), total('x') from t1
select total(a) over (partition by b), total(c) filter (where d > 1) from t1
select * from open(1), closed_one(2) x
select * from rows from (open(1), closed.g(2)) q (x, y)
select a === b from t1
select a === 1, 'x' === 'y', b::text === 'x' from t1
select @@@ a from t1
select @@@ 1
select a operator(app.===) b, a operator(public.===) b from t1
select a operator(pg_catalog.=) b from t1
select a from t1 where a === any (array[1, 2])
select a from t1 order by a using operator(pg_catalog.<)
select 1::guarded
select a::guarded, '1'::guarded, cast(b as plain) from t1
select guarded(a), plain(1) from t1
select array[1]::guarded[], '{1}'::guarded_list
select 'sad'::mood, 'sad'::mood::int
select m::int, m from feelings
select 'sad'::closed.mood, null::closed.mood[]
select one from calls
select a from calls
select * from calls_below
select 'app.t1'::regclass, 'closed.t'::regclass from t1 where false
select to_regclass('closed.t'), to_regclass('t1'), has_table_privilege('t1', 'select')
15| select a from invoker
15| select e from invoker_below
15| select * from invoker i join t4 on i.a = t4.id
15| select e from owner_below
15| insert into simple values (77, 1)
15| update simple set a = 1 where id = 1
15| delete from simple
insert into serials (x) values (1)
insert into serials values (1, 2)
insert into serials values (default, 2)
insert into serials values (5)
insert into serials (x, id) values (1, 7), (2, default)
insert into serials select 8, 9
insert into serials default values
insert into serials (x) values (1) returning id
update serials set id = default
update serials set (id, x) = (default, 1)
update serials set id = 3
insert into writes (x) values (1)
insert into writes (id, x) values (1, 1)
15| merge into serials using t4 on serials.id = t4.id + 100 when not matched then insert (x) values (1)
15| merge into serials using t4 on serials.id = t4.id + 100 when not matched then insert (id, x) values (5, 1)
15| merge into serials using t4 on serials.id = t4.id + 100 when not matched then insert values (default, 1)
insert into checked (id) values (1)
insert into checked values (1, 2, 3)
update checked set k = 1
update checked set id = 1
select * from checked
delete from checked
insert into indexed values (1, 2)
update indexed set k = 1
select k from indexed where id = 1
insert into made (id) values (1)
update made set id = 2
select k from made
insert into feelings values ('sad', 1)
select a from secured
select count(*) from secured
insert into secured values (3, 1)
update secured set b = 2 where a = 3
delete from secured where a = 3
delete from secured
select coalesce(s.a, closed_one(1)) from secured s left join secured r on r.a = s.b
explain select closed_one(1)
explain (costs off) select a from t1 where a === 1
select t >= 'x', t >= t, 'x' >= t from words
select w >= 'x' from words
select w >= w from words
select w >= t from words
select v >= 'x', v >= v, v >= t from words
select w >= v from words
select t operator(public.>=) t from words
select t operator(pg_catalog.>=) t from words
select w > 'x', w <> t, w = v from words
select 'x' >= 'y'
select t >= any (select t from words), t >= all (array['x']) from words
select w >= any (select w from words) from words
select case when t >= 'x' then w else v end from words order by t using >=
update words set t = 'y' where w >= 'x'
