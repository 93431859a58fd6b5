-- What pgAdmin 9.18 sends to PostgreSQL 15: on connecting (utils/driver/psycopg3/connection.py), on opening its
-- browser down to a table, and for its property pages (the templates beside browser/server_groups/servers, white space
-- apart). An empty line ends a statement. {expression} stands for the oid that the expression gives;
-- "varies" goes before a column that is not the same each time.

-- Connecting.

SET DateStyle=ISO; SET client_min_messages=notice; SELECT set_config('bytea_output','hex',false) FROM
pg_show_all_settings() WHERE name = 'bytea_output'; SET client_encoding='utf-8'

SELECT version()

SELECT db.oid as did, db.datname, db.datallowconn, pg_encoding_to_char(db.encoding) AS serverencoding,
has_database_privilege(db.oid, 'CREATE') as cancreate, datistemplate FROM pg_catalog.pg_database db WHERE db.datname
= current_database()

SELECT gss_authenticated, encrypted FROM pg_catalog.pg_stat_gssapi WHERE pid = pg_backend_pid()

-- varies id
-- varies name
SELECT roles.oid as id, roles.rolname as name, roles.rolsuper as is_superuser, CASE WHEN roles.rolsuper THEN true
ELSE roles.rolcreaterole END as can_create_role, CASE WHEN roles.rolsuper THEN true ELSE roles.rolcreatedb END as
can_create_db, CASE WHEN 'pg_signal_backend'=ANY(ARRAY(WITH RECURSIVE cte AS ( SELECT pg_roles.oid,pg_roles.rolname
FROM pg_catalog.pg_roles WHERE pg_roles.oid = roles.oid UNION ALL SELECT m.roleid,pgr.rolname FROM cte cte_1 JOIN
pg_catalog.pg_auth_members m ON m.member = cte_1.oid JOIN pg_catalog.pg_roles pgr ON pgr.oid = m.roleid) SELECT
rolname FROM cte)) THEN True ELSE False END as can_signal_backend FROM pg_catalog.pg_roles as roles WHERE rolname =
current_user

-- The browser: databases, roles, tablespaces.

SELECT db.oid as did, db.datname as name, ta.spcname as spcname, db.datallowconn, db.datistemplate AS is_template,
pg_catalog.has_database_privilege(db.oid, 'CREATE') as cancreate, datdba as owner, descr.description FROM
pg_catalog.pg_database db LEFT OUTER JOIN pg_catalog.pg_tablespace ta ON db.dattablespace = ta.oid LEFT OUTER JOIN
pg_catalog.pg_shdescription descr ON ( db.oid=descr.objoid AND descr.classoid='pg_database'::regclass ) WHERE db.oid
> 16383::OID OR db.datname IN ('postgres', 'edb') ORDER BY datname

SELECT db.oid AS did, db.oid, db.datname AS name, db.dattablespace AS spcoid, spcname, datallowconn,
pg_catalog.pg_encoding_to_char(encoding) AS encoding, pg_catalog.pg_get_userbyid(datdba) AS datowner, (select
pg_catalog.current_setting('lc_collate')) as datcollate, (select pg_catalog.current_setting('lc_ctype')) as
datctype, CASE WHEN datlocprovider = 'i' THEN 'icu' ELSE 'libc' END datlocaleprovider, daticulocale, datcollversion,
datconnlimit, pg_catalog.has_database_privilege(db.oid, 'CREATE') AS cancreate,
pg_catalog.current_setting('default_tablespace') AS default_tablespace, descr.description AS comments,
db.datistemplate AS is_template, '' AS tblacl, '' AS seqacl, '' AS funcacl,
pg_catalog.array_to_string(datacl::text[], ', ') AS acl FROM pg_catalog.pg_database db LEFT OUTER JOIN
pg_catalog.pg_tablespace ta ON db.dattablespace=ta.OID LEFT OUTER JOIN pg_catalog.pg_shdescription descr ON (
db.oid=descr.objoid AND descr.classoid='pg_database'::regclass ) WHERE db.oid =
{(SELECT oid FROM pg_database WHERE datname = current_database())}::OID ORDER BY datname

SELECT r.oid, r.rolname, r.rolcanlogin, r.rolsuper, d.description FROM pg_catalog.pg_roles r LEFT JOIN
pg_catalog.pg_shdescription d ON d.objoid = r.oid AND d.classoid = 'pg_catalog.pg_authid'::regclass ORDER BY
r.rolcanlogin, r.rolname

SELECT r.oid, r.*, pg_catalog.shobj_description(r.oid, 'pg_authid') AS description, ARRAY( SELECT CASE WHEN
am.admin_option THEN '1' ELSE '0' END || rm.rolname FROM (SELECT * FROM pg_catalog.pg_auth_members WHERE member =
r.oid) am LEFT JOIN pg_catalog.pg_roles rm ON (rm.oid = am.roleid) ORDER BY rm.rolname ) AS rolmembership, (SELECT
pg_catalog.array_agg(provider || '=' || label) FROM pg_catalog.pg_shseclabel sl1 WHERE sl1.objoid=r.oid) AS
seclabels ,ARRAY( SELECT CASE WHEN pg.admin_option THEN '1' ELSE '0' END || pg.usename FROM (SELECT pg_roles.rolname
AS usename, pg_auth_members.admin_option AS admin_option FROM pg_catalog.pg_roles JOIN pg_catalog.pg_auth_members ON
pg_roles.oid=pg_auth_members.member AND pg_auth_members.roleid={'reader'::regrole}::oid) pg ) rolmembers FROM
pg_catalog.pg_roles r WHERE r.oid = {'reader'::regrole}::oid ORDER BY r.rolcanlogin, r.rolname

SELECT ts.oid AS oid, spcname AS name, spcowner as owner, pg_catalog.shobj_description(oid, 'pg_tablespace') AS
description FROM pg_catalog.pg_tablespace ts ORDER BY name

SELECT x.oid, pg_catalog.pg_get_userbyid(extowner) AS owner, x.extname AS name, n.nspname AS schema,
x.extrelocatable AS relocatable, x.extversion AS version, e.comment FROM pg_catalog.pg_extension x LEFT JOIN
pg_catalog.pg_namespace n ON x.extnamespace=n.oid JOIN pg_catalog.pg_available_extensions() e ON x.extname=e.name
ORDER BY x.extname

SELECT ca.oid,
pg_catalog.concat(pg_catalog.format_type(st.oid,NULL),'->',pg_catalog.format_type(tt.oid,tt.typtypmod)) as name,
des.description FROM pg_catalog.pg_cast ca JOIN pg_catalog.pg_type st ON st.oid=castsource JOIN
pg_catalog.pg_namespace ns ON ns.oid=st.typnamespace JOIN pg_catalog.pg_type tt ON tt.oid=casttarget JOIN
pg_catalog.pg_namespace nt ON nt.oid=tt.typnamespace LEFT JOIN pg_catalog.pg_proc pr ON pr.oid=castfunc LEFT JOIN
pg_catalog.pg_namespace np ON np.oid=pr.pronamespace LEFT OUTER JOIN pg_catalog.pg_description des ON
(des.objoid=ca.oid AND des.objsubid=0 AND des.classoid='pg_cast'::regclass) WHERE ca.oid > 16383::OID ORDER BY
st.typname, tt.typname

SELECT lan.oid as oid, lanname as name, lanpltrusted as trusted, pg_catalog.array_to_string(lanacl::text[], ', ') as
acl, hp.proname as lanproc, vp.proname as lanval, description, pg_catalog.pg_get_userbyid(lan.lanowner) as lanowner,
ip.proname as laninl, (SELECT pg_catalog.array_agg(provider || '=' || label) FROM pg_catalog.pg_seclabel sl1 WHERE
sl1.objoid=lan.oid) AS seclabels FROM pg_catalog.pg_language lan JOIN pg_catalog.pg_proc hp ON hp.oid=lanplcallfoid
LEFT OUTER JOIN pg_catalog.pg_proc ip ON ip.oid=laninline LEFT OUTER JOIN pg_catalog.pg_proc vp ON
vp.oid=lanvalidator LEFT OUTER JOIN pg_catalog.pg_description des ON ( des.objoid=lan.oid AND des.objsubid=0 AND
des.classoid='pg_language'::regclass ) WHERE lanispl IS TRUE ORDER BY lanname

SELECT e.oid, e.evtname AS name, pg_catalog.obj_description(e.oid, 'pg_event_trigger') AS comment FROM
pg_catalog.pg_event_trigger e ORDER BY e.evtname

SELECT fdw.oid, fdwname as name, fdwhandler, fdwvalidator, description, fdwoptions AS fdwoptions,
pg_catalog.pg_get_userbyid(fdwowner) as fdwowner, pg_catalog.array_to_string(fdwacl::text[], ', ') as acl, CASE WHEN
vp.proname IS NULL THEN NULL ELSE pg_catalog.quote_ident(vp_nsp.nspname)||'.'||pg_catalog.quote_ident(vp.proname)
END fdwvalue, CASE WHEN vh.proname IS NULL THEN NULL ELSE
pg_catalog.quote_ident(vh_nsp.nspname)||'.'||pg_catalog.quote_ident(vh.proname) END fdwhan FROM
pg_catalog.pg_foreign_data_wrapper fdw LEFT OUTER JOIN pg_catalog.pg_proc vh on vh.oid=fdwhandler LEFT OUTER JOIN
pg_catalog.pg_proc vp on vp.oid=fdwvalidator LEFT OUTER JOIN pg_catalog.pg_namespace vh_nsp ON
vh_nsp.oid=vh.pronamespace LEFT OUTER JOIN pg_catalog.pg_namespace vp_nsp ON vp_nsp.oid=vp.pronamespace LEFT OUTER
JOIN pg_catalog.pg_description des ON (des.objoid=fdw.oid AND des.objsubid=0 AND
des.classoid='pg_foreign_data_wrapper'::regclass) WHERE fdw.oid={(SELECT oid FROM pg_foreign_data_wrapper)}::oid
ORDER BY fdwname

SELECT srv.oid as fsrvid, srvname as name FROM pg_catalog.pg_foreign_server srv LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=srv.oid AND des.objsubid=0 AND
des.classoid='pg_foreign_server'::regclass) WHERE srv.oid = {(SELECT oid FROM pg_foreign_server)}::oid

SELECT oid , pubname AS name FROM pg_catalog.pg_publication

SELECT oid, sub.subname AS name FROM pg_catalog.pg_subscription sub WHERE sub.subdbid =
{(SELECT oid FROM pg_database WHERE datname = current_database())}

SELECT nsp.oid, nsp.nspname as name, pg_catalog.has_schema_privilege(nsp.oid, 'CREATE') as can_create,
pg_catalog.has_schema_privilege(nsp.oid, 'USAGE') as has_usage, des.description FROM pg_catalog.pg_namespace nsp
LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=nsp.oid AND des.classoid='pg_namespace'::regclass)
WHERE nspname NOT LIKE E'pg\\_%' AND NOT ( (nsp.nspname = 'pg_catalog' AND EXISTS (SELECT 1 FROM pg_catalog.pg_class
WHERE relname = 'pg_class' AND relnamespace = nsp.oid LIMIT 1)) OR (nsp.nspname = 'pgagent' AND EXISTS (SELECT 1
FROM pg_catalog.pg_class WHERE relname = 'pga_job' AND relnamespace = nsp.oid LIMIT 1)) OR (nsp.nspname =
'information_schema' AND EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'tables' AND relnamespace =
nsp.oid LIMIT 1)) ) ORDER BY nspname

SELECT nsp.oid, CASE nsp.nspname WHEN 'pg_catalog' THEN 'PostgreSQL Catalog (pg_catalog)' WHEN 'pgagent' THEN
'pgAgent Job Scheduler (pgagent)' WHEN 'information_schema' THEN 'ANSI (information_schema)' ELSE nsp.nspname END AS
name, pg_catalog.has_schema_privilege(nsp.oid, 'CREATE') as can_create, pg_catalog.has_schema_privilege(nsp.oid,
'USAGE') as has_usage, des.description FROM pg_catalog.pg_namespace nsp LEFT OUTER JOIN pg_catalog.pg_description
des ON (des.objoid=nsp.oid AND des.classoid='pg_namespace'::regclass) WHERE ( (nsp.nspname = 'pg_catalog' AND EXISTS
(SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'pg_class' AND relnamespace = nsp.oid LIMIT 1)) OR (nsp.nspname =
'pgagent' AND EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'pga_job' AND relnamespace = nsp.oid LIMIT
1)) OR (nsp.nspname = 'information_schema' AND EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'tables'
AND relnamespace = nsp.oid LIMIT 1)) ) ORDER BY 2

SELECT aggfnoid::oid as oid, proname || '(' || COALESCE(pg_catalog.pg_get_function_arguments(aggfnoid::oid), '') ||
')' AS name, pg_catalog.pg_get_userbyid(proowner) AS owner, description FROM pg_catalog.pg_aggregate ag LEFT OUTER
JOIN pg_catalog.pg_proc pr ON pr.oid = ag.aggfnoid LEFT OUTER JOIN pg_catalog.pg_type tt on tt.oid=aggtranstype LEFT
OUTER JOIN pg_catalog.pg_type tf on tf.oid=prorettype LEFT OUTER JOIN pg_catalog.pg_description des ON
(des.objoid=aggfnoid::oid AND des.classoid='pg_aggregate'::regclass) WHERE pronamespace =
{'public'::regnamespace}::oid ORDER BY name

SELECT c.oid, c.collname AS name, des.description FROM pg_catalog.pg_collation c LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=c.oid AND des.classoid='pg_collation'::regclass) WHERE c.collnamespace
= {'public'::regnamespace}::oid ORDER BY c.collname

SELECT d.oid, d.typname as name, pg_catalog.pg_get_userbyid(d.typowner) as owner, bn.nspname as basensp,
des.description FROM pg_catalog.pg_type d JOIN pg_catalog.pg_type b ON b.oid = d.typbasetype JOIN
pg_catalog.pg_namespace bn ON bn.oid=d.typnamespace LEFT OUTER JOIN pg_catalog.pg_description des ON
(des.objoid=d.oid AND des.classoid='pg_type'::regclass) WHERE d.typnamespace = {'public'::regnamespace}::oid ORDER
BY d.typname

SELECT c.oid, c.relname AS name, pg_catalog.pg_get_userbyid(relowner) AS owner, ftoptions, nspname as basensp,
description, (SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgrelid=c.oid AND tgisinternal = FALSE) AS
triggercount, (SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgrelid=c.oid AND tgisinternal = FALSE AND tgenabled
= 'O') AS has_enable_triggers FROM pg_catalog.pg_class c JOIN pg_catalog.pg_foreign_table ft ON c.oid=ft.ftrelid
LEFT OUTER JOIN pg_catalog.pg_namespace nsp ON (nsp.oid=c.relnamespace) LEFT OUTER JOIN pg_catalog.pg_description
des ON (des.objoid=c.oid AND des.classoid='pg_class'::regclass AND des.objsubid = 0) WHERE c.relkind = 'f' AND
c.relnamespace = {'public'::regnamespace}::oid ORDER BY c.relname

SELECT cfg.oid, cfgname as name, des.description FROM pg_catalog.pg_ts_config cfg LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=cfg.oid AND des.classoid='pg_ts_config'::regclass) WHERE
cfg.cfgnamespace = {'public'::regnamespace}::OID ORDER BY name

SELECT dict.oid, dictname as name, dictnamespace as schema, des.description FROM pg_catalog.pg_ts_dict dict LEFT
OUTER JOIN pg_catalog.pg_description des ON (des.objoid=dict.oid AND des.classoid='pg_ts_dict'::regclass) WHERE
dict.dictnamespace = {'public'::regnamespace}::OID ORDER BY name

SELECT prs.oid, prsname as name, prs.prsnamespace AS schema, des.description FROM pg_catalog.pg_ts_parser prs LEFT
OUTER JOIN pg_catalog.pg_description des ON ( des.objoid=prs.oid AND des.classoid='pg_ts_parser'::regclass ) WHERE
prs.prsnamespace = {'public'::regnamespace}::OID ORDER BY name

SELECT tmpl.oid, tmplname as name, tmpl.tmplnamespace AS schema, des.description FROM pg_catalog.pg_ts_template tmpl
LEFT OUTER JOIN pg_catalog.pg_description des ON ( des.objoid=tmpl.oid AND des.classoid='pg_ts_template'::regclass )
WHERE tmpl.tmplnamespace = {'public'::regnamespace}::OID ORDER BY name

SELECT pr.oid, pr.proname || '(' || COALESCE(pg_catalog.pg_get_function_identity_arguments(pr.oid), '') || ')' as
name, lanname, pg_catalog.pg_get_userbyid(proowner) as funcowner, description FROM pg_catalog.pg_proc pr JOIN
pg_catalog.pg_type typ ON typ.oid=prorettype JOIN pg_catalog.pg_language lng ON lng.oid=prolang LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=pr.oid AND des.classoid='pg_proc'::regclass) WHERE pr.prokind IN ('f',
'w') AND pronamespace = {'public'::regnamespace}::oid AND typname NOT IN ('trigger', 'event_trigger') ORDER BY
proname

SELECT pr.oid, CASE WHEN pg_catalog.pg_get_function_identity_arguments(pr.oid) <> '' THEN pr.proname || '(' ||
pg_catalog.pg_get_function_identity_arguments(pr.oid) || ')' ELSE pr.proname::text END AS name, lanname,
pg_catalog.pg_get_userbyid(proowner) AS funcowner, description FROM pg_catalog.pg_proc pr JOIN pg_catalog.pg_type
typ ON typ.oid=prorettype JOIN pg_catalog.pg_language lng ON lng.oid=prolang LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=pr.oid AND des.classoid='pg_proc'::regclass) WHERE pr.prokind =
'p'::char AND pronamespace = {'public'::regnamespace}::oid AND typname NOT IN ('trigger', 'event_trigger') ORDER BY
proname

SELECT pr.oid, pr.proname || '()' as name, lanname, pg_catalog.pg_get_userbyid(proowner) as funcowner, description
FROM pg_catalog.pg_proc pr JOIN pg_catalog.pg_type typ ON typ.oid=prorettype JOIN pg_catalog.pg_language lng ON
lng.oid=prolang LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=pr.oid AND
des.classoid='pg_proc'::regclass) WHERE pr.prokind IN ('f', 'w') AND pronamespace = {'public'::regnamespace}::oid
AND typname IN ('trigger', 'event_trigger') AND lanname NOT IN ('edbspl', 'sql', 'internal') ORDER BY proname

SELECT op.oid, pg_catalog.pg_get_userbyid(op.oprowner) as owner, CASE WHEN lt.typname IS NOT NULL AND rt.typname IS
NOT NULL THEN op.oprname || ' (' || pg_catalog.format_type(lt.oid, NULL) || ', ' || pg_catalog.format_type(rt.oid,
NULL) || ')' WHEN lt.typname IS NULL AND rt.typname IS NOT NULL THEN op.oprname || ' (' ||
pg_catalog.format_type(rt.oid, NULL) || ')' WHEN lt.typname IS NOT NULL AND rt.typname IS NULL THEN op.oprname ||
' (' || pg_catalog.format_type(lt.oid, NULL) || ')' ELSE op.oprname || '()' END as name, lt.typname as lefttype,
rt.typname as righttype, description FROM pg_catalog.pg_operator op LEFT OUTER JOIN pg_catalog.pg_type lt ON
lt.oid=op.oprleft LEFT OUTER JOIN pg_catalog.pg_type rt ON rt.oid=op.oprright JOIN pg_catalog.pg_type et on
et.oid=op.oprresult LEFT OUTER JOIN pg_catalog.pg_operator co ON co.oid=op.oprcom LEFT OUTER JOIN
pg_catalog.pg_operator ne ON ne.oid=op.oprnegate LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=op.oid
AND des.classoid='pg_operator'::regclass) WHERE op.oprnamespace = {'public'::regnamespace}::oid ORDER BY op.oprname

SELECT cl.oid as oid, relname as name, relnamespace as schema, description as comment FROM pg_catalog.pg_class cl
LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=cl.oid AND des.classoid='pg_class'::regclass) WHERE
relkind = 'S' AND relnamespace = {'public'::regnamespace}::oid ORDER BY relname

SELECT t.oid, t.typname AS name, des.description, ra.rngmultitypid as rngmultirangetype FROM pg_catalog.pg_type t
LEFT OUTER JOIN pg_catalog.pg_type e ON e.oid=t.typelem LEFT OUTER JOIN pg_catalog.pg_range ra ON ra.rngtypid=t.oid
LEFT OUTER JOIN pg_catalog.pg_class ct ON ct.oid=t.typrelid AND ct.relkind <> 'c' LEFT OUTER JOIN
pg_catalog.pg_namespace nsp ON nsp.oid = t.typnamespace LEFT OUTER JOIN pg_catalog.pg_description des ON
(des.objoid=t.oid AND des.classoid='pg_type'::regclass) WHERE t.typtype != 'd' AND t.typname NOT LIKE E'\\_%' AND
t.typnamespace = {'public'::regnamespace}::oid AND ct.oid is NULL ORDER BY t.typname

SELECT c.oid, c.relname AS name, description AS comment FROM pg_catalog.pg_class c LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=c.oid and des.objsubid=0 AND des.classoid='pg_class'::regclass) WHERE
c.relkind = 'v' AND c.relnamespace = {'public'::regnamespace}::oid ORDER BY c.relname

SELECT c.oid, c.relname AS name, description AS comment FROM pg_catalog.pg_class c LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=c.oid and des.objsubid=0 AND des.classoid='pg_class'::regclass) WHERE
c.relkind = 'm' AND c.relnamespace = {'public'::regnamespace}::oid ORDER BY c.relname

-- A schema.

SELECT CASE WHEN (nspname LIKE E'pg\\_temp\\_%') THEN 1 WHEN (nspname LIKE E'pg\\_%') THEN 0 ELSE 3 END AS nsptyp,
nsp.nspname AS name, nsp.oid, pg_catalog.array_to_string(nsp.nspacl::text[], ', ') as acl, r.rolname AS
namespaceowner, description, pg_catalog.has_schema_privilege(nsp.oid, 'CREATE') AS can_create, (SELECT
pg_catalog.array_to_string(ARRAY( SELECT pg_catalog.array_to_string(defaclacl::text[], ', ') FROM
pg_catalog.pg_default_acl WHERE defaclobjtype = 'r' AND defaclnamespace = nsp.oid ), ', ')) AS tblacl, (SELECT
pg_catalog.array_to_string(ARRAY( SELECT pg_catalog.array_to_string(defaclacl::text[], ', ') FROM
pg_catalog.pg_default_acl WHERE defaclobjtype = 'S' AND defaclnamespace = nsp.oid ), ', ')) AS seqacl, (SELECT
pg_catalog.array_to_string(ARRAY( SELECT pg_catalog.array_to_string(defaclacl::text[], ', ') FROM
pg_catalog.pg_default_acl WHERE defaclobjtype = 'f' AND defaclnamespace = nsp.oid ), ', ')) AS funcacl, (SELECT
pg_catalog.array_to_string(ARRAY( SELECT pg_catalog.array_to_string(defaclacl::text[], ', ') FROM
pg_catalog.pg_default_acl WHERE defaclobjtype = 'T' AND defaclnamespace = nsp.oid ), ', ')) AS typeacl, (SELECT
pg_catalog.array_agg(provider || '=' || label) FROM pg_catalog.pg_seclabels sl1 WHERE sl1.objoid=nsp.oid) AS
seclabels FROM pg_catalog.pg_namespace nsp LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=nsp.oid AND
des.classoid='pg_namespace'::regclass) LEFT JOIN pg_catalog.pg_roles r ON (r.oid = nsp.nspowner) WHERE
nsp.oid={'public'::regnamespace}::oid AND NOT ( (nsp.nspname = 'pg_catalog' AND EXISTS (SELECT 1 FROM
pg_catalog.pg_class WHERE relname = 'pg_class' AND relnamespace = nsp.oid LIMIT 1)) OR (nsp.nspname = 'pgagent' AND
EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'pga_job' AND relnamespace = nsp.oid LIMIT 1)) OR
(nsp.nspname = 'information_schema' AND EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'tables' AND
relnamespace = nsp.oid LIMIT 1)) ) ORDER BY 1, nspname

SELECT 'nspacl' as deftype, COALESCE(gt.rolname, 'PUBLIC') AS grantee, g.rolname AS grantor,
pg_catalog.array_agg(b.privilege_type) AS privileges, pg_catalog.array_agg(b.is_grantable) AS grantable FROM (SELECT
(d).grantee AS grantee, (d).grantor AS grantor, (d).is_grantable AS is_grantable, CASE (d).privilege_type WHEN
'CREATE' THEN 'C' WHEN 'USAGE' THEN 'U' ELSE 'UNKNOWN - ' || (d).privilege_type END AS privilege_type FROM (SELECT
pg_catalog.aclexplode(nsp.nspacl) as d FROM pg_catalog.pg_namespace nsp WHERE nsp.oid =
{'public'::regnamespace}::OID ) a ) b LEFT JOIN pg_catalog.pg_roles g ON (b.grantor = g.oid) LEFT JOIN
pg_catalog.pg_roles gt ON (b.grantee = gt.oid) GROUP BY g.rolname, gt.rolname ORDER BY grantee

SELECT cl.oid as oid, cl.relname as name, nsp.nspname as schema, pg_catalog.pg_get_userbyid(cl.relowner) AS
seqowner, description as comment, pg_catalog.array_to_string(cl.relacl::text[], ', ') as acl, (SELECT
pg_catalog.array_agg(provider || '=' || label) FROM pg_catalog.pg_seclabels sl1 WHERE sl1.objoid=cl.oid) AS
securities, depcl.relname AS owned_table, att.attname AS owned_column, (CASE WHEN cl.relpersistence = 'u' THEN true
ELSE false END) AS relpersistence FROM pg_catalog.pg_class cl LEFT OUTER JOIN pg_catalog.pg_namespace nsp ON
cl.relnamespace = nsp.oid LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=cl.oid AND
des.classoid='pg_class'::regclass) LEFT OUTER JOIN pg_catalog.pg_depend dep ON (dep.objid=cl.oid and deptype = 'a')
LEFT JOIN pg_catalog.pg_attribute att ON dep.refobjid=att.attrelid AND dep.refobjsubid=att.attnum LEFT JOIN
pg_catalog.pg_class depcl ON depcl.oid = att.attrelid WHERE cl.relkind = 'S' AND cl.relnamespace =
{'public'::regnamespace}::oid AND cl.oid = {(SELECT oid FROM pg_class WHERE relname = 'notes_id_seq')}::oid ORDER BY
cl.relname

SELECT c.oid, c.xmin, c.relkind, description AS comment, (CASE WHEN length(spc.spcname::text) > 0 THEN spc.spcname
ELSE 'pg_default' END) as spcname, c.relname AS name, c.reltablespace AS spcoid, nsp.nspname AS schema,
c.relispopulated AS ispopulated, pg_catalog.pg_get_userbyid(c.relowner) AS owner,
pg_catalog.array_to_string(c.relacl::text[], ', ') AS acl, pg_catalog.pg_get_viewdef(c.oid, true) AS definition,
CASE WHEN {(SELECT oid FROM pg_class WHERE relname = 'totals')} <= 16383 THEN True ELSE False END AS system_view,
(SELECT pg_catalog.array_agg(provider || '=' || label) FROM pg_catalog.pg_seclabels sl1 WHERE sl1.objoid=c.oid AND
sl1.objsubid=0 ) AS seclabels, substring(pg_catalog.array_to_string(c.reloptions, ',') FROM 'check_option=([a-z]*)')
AS check_option, (substring(pg_catalog.array_to_string(c.reloptions, ',') FROM
'security_barrier=([a-z|0-9]*)'))::boolean AS security_barrier, (substring(pg_catalog.array_to_string(c.reloptions,
',') FROM 'security_invoker=([a-z|0-9]*)'))::boolean AS security_invoker FROM pg_catalog.pg_class c LEFT OUTER JOIN
pg_catalog.pg_namespace nsp on nsp.oid = c.relnamespace LEFT OUTER JOIN pg_catalog.pg_tablespace spc on
spc.oid=c.reltablespace LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=c.oid and des.objsubid=0 AND
des.classoid='pg_class'::regclass) WHERE ((c.relhasrules AND (EXISTS ( SELECT r.rulename FROM pg_catalog.pg_rewrite
r WHERE ((r.ev_class = c.oid) AND (bpchar(r.ev_type) = '1'::bpchar)) ))) AND (c.relkind = 'v'::char) ) AND c.oid =
{(SELECT oid FROM pg_class WHERE relname = 'totals')}::oid

SELECT 'datacl' as deftype, COALESCE(gt.rolname, 'PUBLIC') grantee, g.rolname grantor,
pg_catalog.array_agg(privilege_type) as privileges, pg_catalog.array_agg(is_grantable) as grantable FROM (SELECT
d.grantee, d.grantor, d.is_grantable, CASE d.privilege_type WHEN 'DELETE' THEN 'd' WHEN 'INSERT' THEN 'a' WHEN
'MAINTAIN' THEN 'm' WHEN 'REFERENCES' THEN 'x' WHEN 'SELECT' THEN 'r' WHEN 'TRIGGER' THEN 't' WHEN 'UPDATE' THEN 'w'
WHEN 'TRUNCATE' THEN 'D' ELSE 'UNKNOWN' END AS privilege_type FROM (SELECT relacl FROM pg_catalog.pg_class cl LEFT
OUTER JOIN pg_catalog.pg_shdescription descr ON (cl.oid=descr.objoid AND descr.classoid='pg_class'::regclass) WHERE
cl.oid = {(SELECT oid FROM pg_class WHERE relname = 'totals')}::OID AND relkind = 'v' ) acl,
pg_catalog.aclexplode(relacl) d ) d LEFT JOIN pg_catalog.pg_roles g ON (d.grantor = g.oid) LEFT JOIN
pg_catalog.pg_roles gt ON (d.grantee = gt.oid) GROUP BY g.rolname, gt.rolname ORDER BY grantee

SELECT c.oid, c.xmin, c.relname AS name, c.reltablespace AS spcoid, c.relispopulated AS with_data, CASE WHEN
length(spcname::text) > 0 THEN spcname ELSE (SELECT sp.spcname FROM pg_catalog.pg_database dtb JOIN
pg_catalog.pg_tablespace sp ON dtb.dattablespace=sp.oid WHERE dtb.oid =
{(SELECT oid FROM pg_database WHERE datname = current_database())}::oid) END as spcname, (SELECT st.setting from
pg_catalog.pg_show_all_settings() st WHERE st.name = 'default_table_access_method') as default_amname, c.relacl,
nsp.nspname as schema, pg_catalog.pg_get_userbyid(c.relowner) AS owner, description AS comment, ( SELECT
array_agg(DISTINCT e.extname) FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON d.refobjid = e.oid WHERE
d.objid = c.oid ) AS dependsonextensions, pg_catalog.pg_get_viewdef(c.oid, true) AS definition, CASE WHEN
{(SELECT oid FROM pg_class WHERE relname = 'kept')} <= 16383 THEN True ELSE False END AS system_view,
pg_catalog.array_to_string(c.relacl::text[], ', ') AS acl, (SELECT pg_catalog.array_agg(provider || '=' || label)
FROM pg_catalog.pg_seclabels sl1 WHERE sl1.objoid=c.oid AND sl1.objsubid=0) AS seclabels,
substring(pg_catalog.array_to_string(c.reloptions, ',') FROM 'fillfactor=([0-9]*)') AS fillfactor,
substring(pg_catalog.array_to_string(c.reloptions, ',') FROM 'toast_tuple_target=([0-9]*)') AS toast_tuple_target,
(substring(pg_catalog.array_to_string(c.reloptions, ',') FROM 'autovacuum_enabled=([a-z|0-9]*)'))::BOOL AS
autovacuum_enabled, substring(pg_catalog.array_to_string(c.reloptions, ',') FROM
'autovacuum_vacuum_threshold=([0-9]*)') AS autovacuum_vacuum_threshold,
substring(pg_catalog.array_to_string(c.reloptions, ',') FROM 'autovacuum_vacuum_scale_factor=([0-9]*[.]?[0-9]*)') AS
autovacuum_vacuum_scale_factor, substring(pg_catalog.array_to_string(c.reloptions, ',') FROM
'autovacuum_analyze_threshold=([0-9]*)') AS autovacuum_analyze_threshold,
substring(pg_catalog.array_to_string(c.reloptions, ',') FROM 'autovacuum_analyze_scale_factor=([0-9]*[.]?[0-9]*)')
AS autovacuum_analyze_scale_factor, substring(pg_catalog.array_to_string(c.reloptions, ',') FROM
'autovacuum_vacuum_cost_delay=([0-9]*)') AS autovacuum_vacuum_cost_delay,
substring(pg_catalog.array_to_string(c.reloptions, ',') FROM 'autovacuum_vacuum_cost_limit=([0-9]*)') AS
autovacuum_vacuum_cost_limit, substring(pg_catalog.array_to_string(c.reloptions, ',') FROM
'autovacuum_freeze_min_age=([0-9]*)') AS autovacuum_freeze_min_age,
substring(pg_catalog.array_to_string(c.reloptions, ',') FROM 'autovacuum_freeze_max_age=([0-9]*)') AS
autovacuum_freeze_max_age, substring(pg_catalog.array_to_string(c.reloptions, ',') FROM
'autovacuum_freeze_table_age=([0-9]*)') AS autovacuum_freeze_table_age,
(substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM 'autovacuum_enabled=([a-z|0-9]*)'))::BOOL AS
toast_autovacuum_enabled, substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM
'autovacuum_vacuum_threshold=([0-9]*)') AS toast_autovacuum_vacuum_threshold,
substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM 'autovacuum_vacuum_scale_factor=([0-9]*[.]?[0-9]*)')
AS toast_autovacuum_vacuum_scale_factor, substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM
'autovacuum_analyze_threshold=([0-9]*)') AS toast_autovacuum_analyze_threshold,
substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM 'autovacuum_analyze_scale_factor=([0-9]*[.]?[0-9]*)')
AS toast_autovacuum_analyze_scale_factor, substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM
'autovacuum_vacuum_cost_delay=([0-9]*)') AS toast_autovacuum_vacuum_cost_delay,
substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM 'autovacuum_vacuum_cost_limit=([0-9]*)') AS
toast_autovacuum_vacuum_cost_limit, substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM
'autovacuum_freeze_min_age=([0-9]*)') AS toast_autovacuum_freeze_min_age,
substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM 'autovacuum_freeze_max_age=([0-9]*)') AS
toast_autovacuum_freeze_max_age, substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM
'autovacuum_freeze_table_age=([0-9]*)') AS toast_autovacuum_freeze_table_age, c.reloptions AS reloptions,
tst.reloptions AS toast_reloptions, am.amname, (CASE WHEN c.reltoastrelid = 0 THEN false ELSE true END) AS
hastoasttable FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_namespace nsp on nsp.oid = c.relnamespace
LEFT OUTER JOIN pg_catalog.pg_tablespace spc on spc.oid=c.reltablespace LEFT OUTER JOIN pg_catalog.pg_description
des ON (des.objoid=c.oid and des.objsubid=0 AND des.classoid='pg_class'::regclass) LEFT OUTER JOIN
pg_catalog.pg_class tst ON tst.oid = c.reltoastrelid LEFT OUTER JOIN pg_catalog.pg_am am ON am.oid = c.relam WHERE
((c.relhasrules AND (EXISTS ( SELECT r.rulename FROM pg_catalog.pg_rewrite r WHERE ((r.ev_class = c.oid) AND
(pg_catalog.bpchar(r.ev_type) = '1'::bpchar)) ))) AND (c.relkind = 'm'::char) ) AND c.oid =
{(SELECT oid FROM pg_class WHERE relname = 'kept')}::oid

SELECT pr.oid, pr.xmin, CASE WHEN pr.prokind = 'w' THEN true ELSE false END AS proiswindow, pr.prosrc, pr.prosrc AS
prosrc_c, pr.pronamespace, pr.prolang, pr.procost, pr.prorows, pr.prokind, pr.prosecdef, pr.proleakproof,
pr.proisstrict, pr.proretset, pr.provolatile, pr.proparallel, pr.pronargs, pr.prorettype, pr.proallargtypes,
pr.proargmodes, pr.probin, pr.proacl, pr.proname, pr.proname AS name, pg_catalog.pg_get_function_result(pr.oid) AS
prorettypename, typns.nspname AS typnsp, lanname, proargnames, pg_catalog.oidvectortypes(proargtypes) AS
proargtypenames, pg_catalog.pg_get_expr(proargdefaults, 'pg_catalog.pg_class'::regclass) AS proargdefaultvals,
pg_catalog.pg_get_function_sqlbody(pr.oid) AS prosrc_sql, CASE WHEN pr.prosqlbody IS NOT NULL THEN true ELSE false
END as is_pure_sql, pr.pronargdefaults, proconfig, pg_catalog.pg_get_userbyid(proowner) AS funcowner, description, (
SELECT array_agg(DISTINCT e.extname) FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON d.refobjid =
e.oid WHERE d.objid = pr.oid ) AS dependsonextensions, CASE WHEN prosupport = 0::oid THEN '' ELSE ( SELECT
pg_catalog.quote_ident(nspname) || '.' || pg_catalog.quote_ident(proname) AS tfunctions FROM pg_catalog.pg_proc p,
pg_catalog.pg_namespace n WHERE p.pronamespace = n.oid AND p.oid = pr.prosupport::OID ) END AS prosupportfunc,
(SELECT pg_catalog.array_agg(provider || '=' || label) FROM pg_catalog.pg_seclabel sl1 WHERE sl1.objoid=pr.oid) AS
seclabels FROM pg_catalog.pg_proc pr JOIN pg_catalog.pg_type typ ON typ.oid=prorettype JOIN pg_catalog.pg_namespace
typns ON typns.oid=typ.typnamespace JOIN pg_catalog.pg_language lng ON lng.oid=prolang LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=pr.oid AND des.classoid='pg_proc'::regclass and des.objsubid = 0) WHERE
pr.prokind IN ('f', 'w') AND typname NOT IN ('trigger', 'event_trigger') AND pr.oid = {'doubled'::regproc}::oid
ORDER BY proname

SELECT t.oid, t.typname AS name, (CASE WHEN CAST(coalesce(t.typcollation, '0') AS integer) = 100 THEN true ElSE
false END) AS is_collatable, t.typacl AS type_acl, t.typnamespace, t.typowner, t.typlen, t.typbyval, t.typtype,
t.typcategory, t.typispreferred, t.typisdefined, t.typdelim, t.typrelid, t.typelem, t.typarray, t.typalign,
t.typstorage, t.typnotnull, t.typbasetype, t.typtypmod, t.typndims, t.typcollation, t.typdefaultbin, t.typdefault,
(SELECT pg_catalog.concat(nspname, '.', proname,'') FROM pg_catalog.pg_proc pr JOIN pg_catalog.pg_namespace nsp ON
pr.pronamespace = nsp.oid WHERE pr.oid = t.typinput::oid) AS typinput, (SELECT pg_catalog.concat(nspname, '.',
proname,'') FROM pg_catalog.pg_proc pr JOIN pg_catalog.pg_namespace nsp ON pr.pronamespace = nsp.oid WHERE pr.oid =
t.typoutput::oid) AS typoutput, (SELECT pg_catalog.concat(nspname, '.', proname,'') FROM pg_catalog.pg_proc pr JOIN
pg_catalog.pg_namespace nsp ON pr.pronamespace = nsp.oid WHERE pr.oid = t.typreceive::oid) AS typreceive, (SELECT
pg_catalog.concat(nspname, '.', proname,'') FROM pg_catalog.pg_proc pr JOIN pg_catalog.pg_namespace nsp ON
pr.pronamespace = nsp.oid WHERE pr.oid = t.typsend::oid) AS typsend, (SELECT pg_catalog.concat(nspname, '.',
proname,'') FROM pg_catalog.pg_proc pr JOIN pg_catalog.pg_namespace nsp ON pr.pronamespace = nsp.oid WHERE pr.oid =
t.typmodin::oid) AS typmodin, (SELECT pg_catalog.concat(nspname, '.', proname,'') FROM pg_catalog.pg_proc pr JOIN
pg_catalog.pg_namespace nsp ON pr.pronamespace = nsp.oid WHERE pr.oid = t.typmodout::oid) AS typmodout, (SELECT
pg_catalog.concat(nspname, '.', proname,'') FROM pg_catalog.pg_proc pr JOIN pg_catalog.pg_namespace nsp ON
pr.pronamespace = nsp.oid WHERE pr.oid = t.typanalyze::oid) AS typanalyze, (SELECT pg_catalog.concat(nspname, '.',
proname,'') FROM pg_catalog.pg_proc pr JOIN pg_catalog.pg_namespace nsp ON pr.pronamespace = nsp.oid WHERE pr.oid =
t.typsubscript::oid) AS typsubscript, pg_catalog.format_type(t.oid, null) AS alias,
pg_catalog.pg_get_userbyid(t.typowner) as typeowner, e.typname as element, description, ct.oid AS taboid,
nsp.nspname AS schema, (SELECT pg_catalog.array_agg(provider || '=' || label) FROM pg_catalog.pg_seclabel sl1 WHERE
sl1.objoid=t.oid) AS seclabels, (CASE WHEN (t.oid <= 16383::oid OR ct.oid != 0) THEN true ElSE false END) AS
is_sys_type FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type e ON e.oid=t.typelem LEFT OUTER JOIN
pg_catalog.pg_class ct ON ct.oid=t.typrelid AND ct.relkind <> 'c' LEFT OUTER JOIN pg_catalog.pg_description des ON
(des.objoid=t.oid AND des.classoid='pg_type'::regclass) LEFT OUTER JOIN pg_catalog.pg_namespace nsp ON nsp.oid =
t.typnamespace WHERE t.typtype != 'd' AND t.typname NOT LIKE E'\\_%' AND t.typnamespace =
{'public'::regnamespace}::oid AND t.oid = {'pair'::regtype}::oid AND ct.oid is NULL ORDER BY t.typname

SELECT d.oid, d.typname as name, d.typbasetype, pg_catalog.format_type(b.oid,NULL) as basetype,
pg_catalog.pg_get_userbyid(d.typowner) as owner, c.oid AS colloid, pg_catalog.format_type(b.oid, d.typtypmod) AS
fulltype, CASE WHEN length(cn.nspname::text) > 0 AND length(c.collname::text) > 0 THEN pg_catalog.concat(cn.nspname,
'."', c.collname,'"') ELSE '' END AS collname, d.typtypmod, d.typnotnull, d.typdefault, d.typndims, d.typdelim,
bn.nspname as basensp, description, (SELECT pg_catalog.array_agg(provider || '=' || label) FROM
pg_catalog.pg_seclabel sl1 WHERE sl1.objoid=d.oid) AS seclabels FROM pg_catalog.pg_type d JOIN pg_catalog.pg_type b
ON b.oid = d.typbasetype JOIN pg_catalog.pg_namespace bn ON bn.oid=d.typnamespace LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=d.oid AND des.classoid='pg_type'::regclass) LEFT OUTER JOIN
pg_catalog.pg_collation c ON d.typcollation=c.oid LEFT OUTER JOIN pg_catalog.pg_namespace cn ON
c.collnamespace=cn.oid WHERE d.typnamespace = {'public'::regnamespace}::oid AND d.oid={'positive'::regtype}::oid
ORDER BY d.typname

SELECT rel.oid, rel.relname AS name, (SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgrelid=rel.oid AND
tgisinternal = FALSE) AS triggercount, (SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgrelid=rel.oid AND
tgisinternal = FALSE AND tgenabled = 'O') AS has_enable_triggers, (CASE WHEN rel.relkind = 'p' THEN true ELSE false
END) AS is_partitioned, (SELECT count(1) FROM pg_catalog.pg_inherits WHERE inhrelid=rel.oid LIMIT 1) as is_inherits,
(SELECT count(1) FROM pg_catalog.pg_inherits WHERE inhparent=rel.oid LIMIT 1) as is_inherited, des.description FROM
pg_catalog.pg_class rel LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=rel.oid AND des.objsubid=0 AND
des.classoid='pg_class'::regclass) WHERE rel.relkind IN ('r','s','t','p') AND rel.relnamespace =
{'public'::regnamespace}::oid AND NOT rel.relispartition ORDER BY rel.relname

-- A table: properties, columns, constraints, indexes, triggers, rules, policies, statistics, dependencies.

SELECT rel.oid, rel.relname AS name, rel.reltablespace AS spcoid,rel.relacl AS relacl_str, (CASE WHEN
length(spc.spcname::text) > 0 OR rel.relkind = 'p' THEN spc.spcname ELSE (SELECT sp.spcname FROM
pg_catalog.pg_database dtb JOIN pg_catalog.pg_tablespace sp ON dtb.dattablespace=sp.oid WHERE dtb.oid =
{(SELECT oid FROM pg_database WHERE datname = current_database())}::oid) END) as spcname, (CASE rel.relreplident
WHEN 'd' THEN 'default' WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full' WHEN 'i' THEN 'index' END) as replica_identity,
(select nspname FROM pg_catalog.pg_namespace WHERE oid = {'public'::regnamespace}::oid ) as schema,
pg_catalog.pg_get_userbyid(rel.relowner) AS relowner, rel.relkind, (CASE WHEN rel.relkind = 'p' THEN true ELSE false
END) AS is_partitioned, rel.relhassubclass, rel.reltuples::bigint, des.description, con.conname, con.conkey,
EXISTS(select 1 FROM pg_catalog.pg_trigger JOIN pg_catalog.pg_proc pt ON pt.oid=tgfoid AND pt.proname='logtrigger'
JOIN pg_catalog.pg_proc pc ON pc.pronamespace=pt.pronamespace AND pc.proname='slonyversion' WHERE tgrelid=rel.oid)
AS isrepl, (SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgrelid=rel.oid AND tgisinternal = FALSE) AS
triggercount, (SELECT ARRAY(SELECT CASE WHEN (nspname NOT LIKE 'pg\_%') THEN
pg_catalog.quote_ident(nspname)||'.'||pg_catalog.quote_ident(c.relname) ELSE pg_catalog.quote_ident(c.relname) END
AS inherited_tables FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhparent JOIN
pg_catalog.pg_namespace n ON n.oid=c.relnamespace WHERE i.inhrelid = rel.oid ORDER BY inhseqno)) AS coll_inherits,
(SELECT count(*) FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhparent JOIN
pg_catalog.pg_namespace n ON n.oid=c.relnamespace WHERE i.inhrelid = rel.oid) AS inherited_tables_cnt, (CASE WHEN
rel.relpersistence = 'u' THEN true ELSE false END) AS relpersistence, (SELECT st.setting from
pg_catalog.pg_show_all_settings() st WHERE st.name = 'default_table_access_method') as default_amname,
substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM 'fillfactor=([0-9]*)') AS fillfactor,
substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM 'parallel_workers=([0-9]*)') AS parallel_workers,
substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM 'toast_tuple_target=([0-9]*)') AS toast_tuple_target,
(substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM 'autovacuum_enabled=([a-z|0-9]*)'))::BOOL AS
autovacuum_enabled, substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM
'autovacuum_vacuum_threshold=([0-9]*)') AS autovacuum_vacuum_threshold,
substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM 'autovacuum_vacuum_scale_factor=([0-9]*[.]?[0-9]*)')
AS autovacuum_vacuum_scale_factor, substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM
'autovacuum_analyze_threshold=([0-9]*)') AS autovacuum_analyze_threshold,
substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM 'autovacuum_analyze_scale_factor=([0-9]*[.]?[0-9]*)')
AS autovacuum_analyze_scale_factor, substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM
'autovacuum_vacuum_cost_delay=([0-9]*)') AS autovacuum_vacuum_cost_delay,
substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM 'autovacuum_vacuum_cost_limit=([0-9]*)') AS
autovacuum_vacuum_cost_limit, substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM
'autovacuum_freeze_min_age=([0-9]*)') AS autovacuum_freeze_min_age,
substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM 'autovacuum_freeze_max_age=([0-9]*)') AS
autovacuum_freeze_max_age, substring(pg_catalog.array_to_string(rel.reloptions, ',') FROM
'autovacuum_freeze_table_age=([0-9]*)') AS autovacuum_freeze_table_age,
(substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM 'autovacuum_enabled=([a-z|0-9]*)'))::BOOL AS
toast_autovacuum_enabled, substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM
'autovacuum_vacuum_threshold=([0-9]*)') AS toast_autovacuum_vacuum_threshold,
substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM 'autovacuum_vacuum_scale_factor=([0-9]*[.]?[0-9]*)')
AS toast_autovacuum_vacuum_scale_factor, substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM
'autovacuum_analyze_threshold=([0-9]*)') AS toast_autovacuum_analyze_threshold,
substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM 'autovacuum_analyze_scale_factor=([0-9]*[.]?[0-9]*)')
AS toast_autovacuum_analyze_scale_factor, substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM
'autovacuum_vacuum_cost_delay=([0-9]*)') AS toast_autovacuum_vacuum_cost_delay,
substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM 'autovacuum_vacuum_cost_limit=([0-9]*)') AS
toast_autovacuum_vacuum_cost_limit, substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM
'autovacuum_freeze_min_age=([0-9]*)') AS toast_autovacuum_freeze_min_age,
substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM 'autovacuum_freeze_max_age=([0-9]*)') AS
toast_autovacuum_freeze_max_age, substring(pg_catalog.array_to_string(tst.reloptions, ',') FROM
'autovacuum_freeze_table_age=([0-9]*)') AS toast_autovacuum_freeze_table_age, rel.reloptions AS reloptions,
tst.reloptions AS toast_reloptions, rel.reloftype, am.amname, CASE WHEN typ.typname IS NOT NULL THEN (select
pg_catalog.quote_ident(nspname) FROM pg_catalog.pg_namespace WHERE oid = {'public'::regnamespace}::oid
)||'.'||pg_catalog.quote_ident(typ.typname) ELSE typ.typname END AS typname, typ.typrelid AS typoid,
rel.relrowsecurity as rlspolicy, rel.relforcerowsecurity as forcerlspolicy, (CASE WHEN rel.reltoastrelid = 0 THEN
false ELSE true END) AS hastoasttable, (SELECT pg_catalog.array_agg(provider || '=' || label) FROM
pg_catalog.pg_seclabels sl1 WHERE sl1.objoid=rel.oid AND sl1.objsubid=0) AS seclabels, (CASE WHEN rel.oid <=
16383::oid THEN true ElSE false END) AS is_sys_table , (CASE WHEN rel.relkind = 'p' THEN
pg_catalog.pg_get_partkeydef({(SELECT oid FROM pg_class WHERE relname = 'items')}::oid) ELSE '' END) AS
partition_scheme FROM pg_catalog.pg_class rel LEFT OUTER JOIN pg_catalog.pg_tablespace spc on
spc.oid=rel.reltablespace LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=rel.oid AND des.objsubid=0
AND des.classoid='pg_class'::regclass) LEFT OUTER JOIN pg_catalog.pg_constraint con ON con.conrelid=rel.oid AND
con.contype='p' LEFT OUTER JOIN pg_catalog.pg_class tst ON tst.oid = rel.reltoastrelid LEFT JOIN pg_catalog.pg_type
typ ON rel.reloftype=typ.oid LEFT OUTER JOIN pg_catalog.pg_am am ON am.oid = rel.relam WHERE rel.relkind IN
('r','s','t','p') AND rel.relnamespace = {'public'::regnamespace}::oid AND NOT rel.relispartition AND rel.oid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid ORDER BY rel.relname

SELECT 'relacl' as deftype, COALESCE(gt.rolname, 'PUBLIC') grantee, g.rolname grantor,
pg_catalog.array_agg(privilege_type) as privileges, pg_catalog.array_agg(is_grantable) as grantable FROM (SELECT
d.grantee, d.grantor, d.is_grantable, CASE d.privilege_type WHEN 'CONNECT' THEN 'c' WHEN 'CREATE' THEN 'C' WHEN
'DELETE' THEN 'd' WHEN 'EXECUTE' THEN 'X' WHEN 'INSERT' THEN 'a' WHEN 'MAINTAIN' THEN 'm' WHEN 'REFERENCES' THEN 'x'
WHEN 'SELECT' THEN 'r' WHEN 'TEMPORARY' THEN 'T' WHEN 'TRIGGER' THEN 't' WHEN 'TRUNCATE' THEN 'D' WHEN 'UPDATE' THEN
'w' WHEN 'USAGE' THEN 'U' ELSE 'UNKNOWN' END AS privilege_type FROM (SELECT rel.relacl FROM pg_catalog.pg_class rel
LEFT OUTER JOIN pg_catalog.pg_tablespace spc on spc.oid=rel.reltablespace LEFT OUTER JOIN pg_catalog.pg_constraint
con ON con.conrelid=rel.oid AND con.contype='p' LEFT OUTER JOIN pg_catalog.pg_class tst ON tst.oid =
rel.reltoastrelid LEFT JOIN pg_catalog.pg_type typ ON rel.reloftype=typ.oid WHERE rel.relkind IN ('r','s','t','p')
AND rel.relnamespace = {'public'::regnamespace}::oid AND rel.oid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid ) acl, (SELECT (d).grantee AS grantee, (d).grantor AS
grantor, (d).is_grantable AS is_grantable, (d).privilege_type AS privilege_type FROM (SELECT aclexplode(rel.relacl)
as d FROM pg_catalog.pg_class rel LEFT OUTER JOIN pg_catalog.pg_tablespace spc on spc.oid=rel.reltablespace LEFT
OUTER JOIN pg_catalog.pg_constraint con ON con.conrelid=rel.oid AND con.contype='p' LEFT OUTER JOIN
pg_catalog.pg_class tst ON tst.oid = rel.reltoastrelid LEFT JOIN pg_catalog.pg_type typ ON rel.reloftype=typ.oid
WHERE rel.relkind IN ('r','s','t','p') AND rel.relnamespace = {'public'::regnamespace}::oid AND rel.oid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid ) a ORDER BY privilege_type) d ) d LEFT JOIN
pg_catalog.pg_roles g ON (d.grantor = g.oid) LEFT JOIN pg_catalog.pg_roles gt ON (d.grantee = gt.oid) GROUP BY
g.rolname, gt.rolname ORDER BY grantee

SELECT rel.relname AS name FROM pg_catalog.pg_class rel WHERE rel.relkind IN ('r','s','t','p') AND rel.relnamespace
= {'public'::regnamespace}::oid AND rel.oid = {(SELECT oid FROM pg_class WHERE relname = 'items')}::oid

SELECT a.attname AS name, pg_catalog.format_type(a.atttypid, NULL) AS cltype, pg_catalog.pg_get_expr(def.adbin,
def.adrelid) AS defval, a.attidentity as clidentity,
pg_catalog.quote_ident(n.nspname)||'.'||pg_catalog.quote_ident(c.relname) as inheritedfrom, c.oid as inheritedid
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON c.relnamespace=n.oid JOIN pg_catalog.pg_attribute a ON
a.attrelid = c.oid AND NOT a.attisdropped AND a.attnum > 0 LEFT OUTER JOIN pg_catalog.pg_attrdef def ON
adrelid=a.attrelid AND adnum=a.attnum WHERE c.oid = {(SELECT oid FROM pg_class WHERE relname = 'items')}::OID

SELECT c.oid, pg_catalog.quote_ident(n.nspname)||'.'||pg_catalog.quote_ident(c.relname) AS typname FROM
pg_catalog.pg_namespace n, pg_catalog.pg_class c WHERE c.relkind = 'c' AND c.relnamespace=n.oid AND n.nspname NOT
LIKE 'pg\_%' AND n.nspname NOT IN ('information_schema') ORDER BY typname

SELECT c.oid, pg_catalog.quote_ident(n.nspname)||'.'||pg_catalog.quote_ident(c.relname) AS like_relation FROM
pg_catalog.pg_class c, pg_catalog.pg_namespace n WHERE c.relnamespace=n.oid AND c.relkind IN ('r', 'v', 'f') AND
n.nspname NOT LIKE 'pg\_%' AND n.nspname NOT IN ('information_schema') ORDER BY 1

SELECT COUNT(*)::text FROM public.items

SELECT ref.relname AS refname, d2.refclassid, dep.deptype AS deptype FROM pg_catalog.pg_depend dep LEFT JOIN
pg_catalog.pg_depend d2 ON dep.objid=d2.objid AND dep.refobjid != d2.refobjid LEFT JOIN pg_catalog.pg_class ref ON
ref.oid=d2.refobjid LEFT JOIN pg_catalog.pg_attribute att ON d2.refclassid=att.attrelid AND
d2.refobjsubid=att.attnum AND dep.classid=(SELECT oid FROM pg_catalog.pg_class WHERE relname='pg_attrdef') AND
dep.refobjid NOT IN (SELECT d3.refobjid FROM pg_catalog.pg_depend d3 WHERE d3.objid=d2.refobjid)

SELECT opcname, opcmethod FROM pg_catalog.pg_opclass ORDER BY 1

SELECT DISTINCT att.attname as name, att.attnum as OID, pg_catalog.format_type(ty.oid,NULL) AS datatype,
pg_catalog.format_type(ty.oid,att.atttypmod) AS displaytypname, att.attnotnull as not_null, CASE WHEN att.atthasdef
OR att.attidentity != '' OR ty.typdefault IS NOT NULL THEN True ELSE False END as has_default_val, des.description,
seq.seqtypid FROM pg_catalog.pg_attribute att JOIN pg_catalog.pg_type ty ON ty.oid=atttypid JOIN
pg_catalog.pg_namespace tn ON tn.oid=ty.typnamespace JOIN pg_catalog.pg_class cl ON cl.oid=att.attrelid JOIN
pg_catalog.pg_namespace na ON na.oid=cl.relnamespace LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid=ty.typelem LEFT
OUTER JOIN pg_catalog.pg_attrdef def ON adrelid=att.attrelid AND adnum=att.attnum LEFT OUTER JOIN
(pg_catalog.pg_depend JOIN pg_catalog.pg_class cs ON classid='pg_class'::regclass AND objid=cs.oid AND
cs.relkind='S') ON refobjid=att.attrelid AND refobjsubid=att.attnum LEFT OUTER JOIN pg_catalog.pg_namespace ns ON
ns.oid=cs.relnamespace LEFT OUTER JOIN pg_catalog.pg_index pi ON pi.indrelid=att.attrelid AND indisprimary LEFT
OUTER JOIN pg_catalog.pg_description des ON (des.objoid=att.attrelid AND des.objsubid=att.attnum AND
des.classoid='pg_class'::regclass) LEFT OUTER JOIN pg_catalog.pg_sequence seq ON cs.oid=seq.seqrelid WHERE
att.attrelid = {(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND att.attnum > 0 AND att.attisdropped IS
FALSE ORDER BY att.attnum

WITH INH_TABLES AS (SELECT at.attname AS name, ph.inhparent AS inheritedid, ph.inhseqno,
pg_catalog.concat(nmsp_parent.nspname, '.',parent.relname ) AS inheritedfrom FROM pg_catalog.pg_attribute at JOIN
pg_catalog.pg_inherits ph ON ph.inhparent = at.attrelid AND ph.inhrelid = 33896::oid JOIN pg_catalog.pg_class parent
ON ph.inhparent = parent.oid JOIN pg_catalog.pg_namespace nmsp_parent ON nmsp_parent.oid = parent.relnamespace GROUP
BY at.attname, ph.inhparent, ph.inhseqno, inheritedfrom ORDER BY at.attname, ph.inhparent, ph.inhseqno,
inheritedfrom ) SELECT DISTINCT ON (att.attnum) att.attname as name, att.atttypid, att.attlen, att.attnum,
att.attndims, att.atttypmod, att.attacl, att.attnotnull, att.attoptions, att.attfdwoptions, att.attstattarget,
att.attstorage, att.attidentity, pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS defval,
pg_catalog.format_type(ty.oid,NULL) AS typname, pg_catalog.format_type(ty.oid,att.atttypmod) AS displaytypname,
pg_catalog.format_type(ty.oid,att.atttypmod) AS cltype, inh.inheritedfrom, inh.inheritedid, CASE WHEN ty.typelem > 0
THEN ty.typelem ELSE ty.oid END as elemoid, (SELECT nspname FROM pg_catalog.pg_namespace WHERE oid =
ty.typnamespace) as typnspname, ty.typstorage AS defaultstorage, description, pi.indkey, (SELECT count(1) FROM
pg_catalog.pg_type t2 WHERE t2.typname=ty.typname) > 1 AS isdup, CASE WHEN length(coll.collname::text) > 0 AND
length(nspc.nspname::text) > 0 THEN
pg_catalog.concat(pg_catalog.quote_ident(nspc.nspname),'.',pg_catalog.quote_ident(coll.collname)) ELSE '' END AS
collspcname, EXISTS(SELECT 1 FROM pg_catalog.pg_constraint WHERE conrelid=att.attrelid AND contype='f' AND
att.attnum=ANY(conkey)) As is_fk, (SELECT pg_catalog.array_agg(provider || '=' || label) FROM
pg_catalog.pg_seclabels sl1 WHERE sl1.objoid=att.attrelid AND sl1.objsubid=att.attnum) AS seclabels, (CASE WHEN
(att.attnum < 1) THEN true ElSE false END) AS is_sys_column, (CASE WHEN (att.attidentity in ('a', 'd')) THEN 'i'
WHEN (att.attgenerated in ('s')) THEN 'g' ELSE 'n' END) AS colconstype, (CASE WHEN (att.attgenerated in ('s')) THEN
pg_catalog.pg_get_expr(def.adbin, def.adrelid) END) AS genexpr, tab.relname as relname, (CASE WHEN tab.relkind = 'v'
THEN true ELSE false END) AS is_view_only, (CASE WHEN att.attcompression = 'p' THEN 'pglz' WHEN att.attcompression =
'l' THEN 'lz4' END) AS attcompression, (SELECT dsd.refobjid FROM pg_catalog.pg_depend dsd JOIN pg_catalog.pg_class
dsc ON dsd.refclassid='pg_catalog.pg_class'::regclass AND dsd.refobjid=dsc.oid AND dsc.relkind='S' WHERE
dsd.classid='pg_catalog.pg_attrdef'::regclass AND dsd.objid=def.oid AND dsd.deptype='n' ORDER BY dsd.refobjid LIMIT
1) AS defseqrelid, seq.* FROM pg_catalog.pg_attribute att JOIN pg_catalog.pg_type ty ON ty.oid=atttypid LEFT OUTER
JOIN pg_catalog.pg_attrdef def ON adrelid=att.attrelid AND adnum=att.attnum LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=att.attrelid AND des.objsubid=att.attnum AND
des.classoid='pg_class'::regclass) LEFT OUTER JOIN (pg_catalog.pg_depend dep JOIN pg_catalog.pg_class cs ON
dep.classid='pg_class'::regclass AND dep.objid=cs.oid AND cs.relkind='S') ON dep.refobjid=att.attrelid AND
dep.refobjsubid=att.attnum LEFT OUTER JOIN pg_catalog.pg_index pi ON pi.indrelid=att.attrelid AND indisprimary LEFT
OUTER JOIN pg_catalog.pg_collation coll ON att.attcollation=coll.oid LEFT OUTER JOIN pg_catalog.pg_namespace nspc ON
coll.collnamespace=nspc.oid LEFT OUTER JOIN pg_catalog.pg_sequence seq ON cs.oid=seq.seqrelid LEFT OUTER JOIN
pg_catalog.pg_class tab on tab.oid = att.attrelid LEFT OUTER join INH_TABLES as INH ON att.attname = INH.name WHERE
att.attrelid = {(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND att.attnum > 0 AND att.attisdropped IS
FALSE ORDER BY att.attnum

SELECT null_frac AS "Null fraction", avg_width AS "Average width", n_distinct AS "Distinct values", most_common_vals
AS "Most common values", most_common_freqs AS "Most common frequencies", histogram_bounds AS "Histogram bounds",
correlation AS "Correlation", most_common_elems AS "Most common elements", most_common_elem_freqs AS
"Most common elements frequencies", elem_count_histogram AS "Histogram element count" FROM pg_catalog.pg_stats WHERE
schemaname = 'public' AND tablename = 'items' AND attname = ''

SELECT nsp.nspname AS schema ,rel.relname AS table FROM pg_catalog.pg_class rel JOIN pg_catalog.pg_namespace nsp ON
rel.relnamespace = nsp.oid::oid WHERE rel.oid = {(SELECT oid FROM pg_class WHERE relname = 'items')}::oid

SELECT c.oid, conname as name, NOT convalidated as convalidated, conislocal, description as comment FROM
pg_catalog.pg_constraint c LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=c.oid AND
des.classoid='pg_constraint'::regclass) WHERE contype = 'c' AND conrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid

SELECT c.oid, conname as name, relname, nspname, description as comment, pg_catalog.pg_get_expr(conbin, conrelid,
true) as consrc, connoinherit, NOT convalidated as convalidated, conislocal FROM pg_catalog.pg_constraint c JOIN
pg_catalog.pg_class cl ON cl.oid=conrelid JOIN pg_catalog.pg_namespace nl ON nl.oid=relnamespace LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=c.oid AND des.classoid='pg_constraint'::regclass) WHERE contype = 'c'
AND conrelid = {(SELECT oid FROM pg_class WHERE relname = 'items')}::oid

SELECT nsp.nspname AS schema, rel.relname AS table FROM pg_catalog.pg_class rel JOIN pg_catalog.pg_namespace nsp ON
rel.relnamespace = nsp.oid::oid WHERE rel.oid = {(SELECT oid FROM pg_class WHERE relname = 'items')}::oid

SELECT oid, conname as name, NOT convalidated as convalidated FROM pg_catalog.pg_constraint WHERE conrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND conname=''

SELECT oid, conname as name, NOT convalidated as convalidated FROM pg_catalog.pg_constraint WHERE conrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND conname='items_order_id_fkey'

SELECT conindid as oid, conname as name, NOT convalidated as convalidated, desp.description AS comment FROM
pg_catalog.pg_constraint ct LEFT OUTER JOIN pg_catalog.pg_description desp ON (desp.objoid=ct.oid AND desp.objsubid
= 0 AND desp.classoid='pg_constraint'::regclass) WHERE contype='x' AND conrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid ORDER BY conname

SELECT cls.oid, cls.relname as name, indnkeyatts as col_count, amname, CASE WHEN length(spcname::text) > 0 THEN
spcname ELSE (SELECT sp.spcname FROM pg_catalog.pg_database dtb JOIN pg_catalog.pg_tablespace sp ON
dtb.dattablespace=sp.oid WHERE dtb.oid = {(SELECT oid FROM pg_database WHERE datname = current_database())}::oid)
END as spcname, CASE contype WHEN 'p' THEN desp.description WHEN 'u' THEN desp.description WHEN 'x' THEN
desp.description ELSE des.description END AS comment, condeferrable, condeferred,
substring(pg_catalog.array_to_string(cls.reloptions, ',') from 'fillfactor=([0-9]*)') AS fillfactor,
pg_catalog.pg_get_expr(idx.indpred, idx.indrelid, true) AS indconstraint FROM pg_catalog.pg_index idx JOIN
pg_catalog.pg_class cls ON cls.oid=indexrelid LEFT OUTER JOIN pg_catalog.pg_tablespace ta on
ta.oid=cls.reltablespace JOIN pg_catalog.pg_am am ON am.oid=cls.relam LEFT JOIN pg_catalog.pg_depend dep ON
(dep.classid = cls.tableoid AND dep.objid = cls.oid AND dep.refobjsubid = '0' AND dep.refclassid=(SELECT oid FROM
pg_catalog.pg_class WHERE relname='pg_constraint') AND dep.deptype='i') LEFT OUTER JOIN pg_catalog.pg_constraint con
ON (con.tableoid = dep.refclassid AND con.oid = dep.refobjid) LEFT OUTER JOIN pg_catalog.pg_description des ON
(des.objoid=cls.oid AND des.classoid='pg_class'::regclass) LEFT OUTER JOIN pg_catalog.pg_description desp ON
(desp.objoid=con.oid AND desp.objsubid = 0 AND desp.classoid='pg_constraint'::regclass) WHERE indrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND contype='x' ORDER BY cls.relname

SELECT ct.conindid AS oid FROM pg_catalog.pg_constraint ct WHERE contype='x' AND ct.conname = ''

SELECT ct.conindid AS oid FROM pg_catalog.pg_constraint ct WHERE contype='x' AND ct.conname = 'items_order_id_fkey'

SELECT ct.oid, conname as name, NOT convalidated as convalidated, description as comment FROM
pg_catalog.pg_constraint ct LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=ct.oid AND
des.classoid='pg_constraint'::regclass) WHERE contype='f' AND conrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid ORDER BY conname

SELECT ct.oid, conname as name, condeferrable, condeferred, confupdtype, confdeltype, CASE confmatchtype WHEN 's'
THEN FALSE WHEN 'f' THEN TRUE END AS confmatchtype, conkey, confkey, confrelid, nl.nspname as fknsp, cl.relname as
fktab, nr.oid as refnspoid, nr.nspname as refnsp, cr.relname as reftab, description as comment, convalidated,
conislocal FROM pg_catalog.pg_constraint ct JOIN pg_catalog.pg_class cl ON cl.oid=conrelid JOIN
pg_catalog.pg_namespace nl ON nl.oid=cl.relnamespace JOIN pg_catalog.pg_class cr ON cr.oid=confrelid JOIN
pg_catalog.pg_namespace nr ON nr.oid=cr.relnamespace LEFT OUTER JOIN pg_catalog.pg_description des ON
(des.objoid=ct.oid AND des.classoid='pg_constraint'::regclass) WHERE contype='f' AND conrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid ORDER BY conname

SELECT ct.oid, conname as name, condeferrable, condeferred, confupdtype, confdeltype, CASE confmatchtype WHEN 's'
THEN FALSE WHEN 'f' THEN TRUE END AS confmatchtype, conkey, confkey, confrelid, nl.nspname as fknsp, cl.relname as
fktab, nr.oid as refnspoid, nr.nspname as refnsp, cr.relname as reftab, description as comment, convalidated,
conislocal FROM pg_catalog.pg_constraint ct JOIN pg_catalog.pg_class cl ON cl.oid=conrelid JOIN
pg_catalog.pg_namespace nl ON nl.oid=cl.relnamespace JOIN pg_catalog.pg_class cr ON cr.oid=confrelid JOIN
pg_catalog.pg_namespace nr ON nr.oid=cr.relnamespace LEFT OUTER JOIN pg_catalog.pg_description des ON
(des.objoid=ct.oid AND des.classoid='pg_constraint'::regclass) WHERE contype='f' AND conrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND ct.oid =
{(SELECT oid FROM pg_constraint WHERE conname = 'items_order_id_fkey')}::oid ORDER BY conname

SELECT ct.oid, NOT convalidated as convalidated FROM pg_catalog.pg_constraint ct WHERE contype='f' AND ct.conname =
''

SELECT ct.oid, NOT convalidated as convalidated FROM pg_catalog.pg_constraint ct WHERE contype='f' AND ct.conname =
'items_order_id_fkey'

SELECT pg_catalog.pg_get_indexdef({(SELECT oid FROM pg_constraint WHERE conname = 'items_order_id_fkey')} , 1 ,
true) AS column UNION SELECT
pg_catalog.pg_get_indexdef({(SELECT oid FROM pg_constraint WHERE conname = 'items_order_id_fkey')}, 2, true) AS
column

SELECT cls.oid, cls.relname as name, CASE contype WHEN 'p' THEN desp.description WHEN 'u' THEN desp.description WHEN
'x' THEN desp.description ELSE des.description END AS comment FROM pg_catalog.pg_index idx JOIN pg_catalog.pg_class
cls ON cls.oid=indexrelid LEFT JOIN pg_catalog.pg_depend dep ON (dep.classid = cls.tableoid AND dep.objid = cls.oid
AND dep.refobjsubid = '0' AND dep.refclassid=(SELECT oid FROM pg_catalog.pg_class WHERE relname='pg_constraint') AND
dep.deptype='i') LEFT OUTER JOIN pg_catalog.pg_constraint con ON (con.tableoid = dep.refclassid AND con.oid =
dep.refobjid) LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=cls.oid AND
des.classoid='pg_class'::regclass) LEFT OUTER JOIN pg_catalog.pg_description desp ON (desp.objoid=con.oid AND
desp.objsubid = 0 AND desp.classoid='pg_constraint'::regclass) WHERE indrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND contype='p'

SELECT cls.oid, cls.relname as name, CASE contype WHEN 'p' THEN desp.description WHEN 'u' THEN desp.description WHEN
'x' THEN desp.description ELSE des.description END AS comment FROM pg_catalog.pg_index idx JOIN pg_catalog.pg_class
cls ON cls.oid=indexrelid LEFT JOIN pg_catalog.pg_depend dep ON (dep.classid = cls.tableoid AND dep.objid = cls.oid
AND dep.refobjsubid = '0' AND dep.refclassid=(SELECT oid FROM pg_catalog.pg_class WHERE relname='pg_constraint') AND
dep.deptype='i') LEFT OUTER JOIN pg_catalog.pg_constraint con ON (con.tableoid = dep.refclassid AND con.oid =
dep.refobjid) LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=cls.oid AND
des.classoid='pg_class'::regclass) LEFT OUTER JOIN pg_catalog.pg_description desp ON (desp.objoid=con.oid AND
desp.objsubid = 0 AND desp.classoid='pg_constraint'::regclass) WHERE indrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND contype='p' AND cls.oid =
{(SELECT oid FROM pg_class WHERE relname = 'items_pkey')}::oid

SELECT cls.oid, cls.relname as name, indnkeyatts as col_count, indnullsnotdistinct, CASE WHEN length(spcname::text)
> 0 THEN spcname ELSE (SELECT sp.spcname FROM pg_catalog.pg_database dtb JOIN pg_catalog.pg_tablespace sp ON
dtb.dattablespace=sp.oid WHERE dtb.oid = {(SELECT oid FROM pg_database WHERE datname = current_database())}::oid)
END as spcname, CASE contype WHEN 'p' THEN desp.description WHEN 'u' THEN desp.description WHEN 'x' THEN
desp.description ELSE des.description END AS comment, condeferrable, condeferred, conislocal,
substring(pg_catalog.array_to_string(cls.reloptions, ',') from 'fillfactor=([0-9]*)') AS fillfactor FROM
pg_catalog.pg_index idx JOIN pg_catalog.pg_class cls ON cls.oid=indexrelid LEFT OUTER JOIN pg_catalog.pg_tablespace
ta on ta.oid=cls.reltablespace LEFT JOIN pg_catalog.pg_depend dep ON (dep.classid = cls.tableoid AND dep.objid =
cls.oid AND dep.refobjsubid = '0' AND dep.refclassid=(SELECT oid FROM pg_catalog.pg_class WHERE
relname='pg_constraint') AND dep.deptype='i') LEFT OUTER JOIN pg_catalog.pg_constraint con ON (con.tableoid =
dep.refclassid AND con.oid = dep.refobjid) LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=cls.oid AND
des.classoid='pg_class'::regclass) LEFT OUTER JOIN pg_catalog.pg_description desp ON (desp.objoid=con.oid AND
desp.objsubid = 0 AND desp.classoid='pg_constraint'::regclass) WHERE indrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND contype='p' ORDER BY cls.relname

SELECT cls.oid, cls.relname as name, indnkeyatts as col_count, indnullsnotdistinct, CASE WHEN length(spcname::text)
> 0 THEN spcname ELSE (SELECT sp.spcname FROM pg_catalog.pg_database dtb JOIN pg_catalog.pg_tablespace sp ON
dtb.dattablespace=sp.oid WHERE dtb.oid = {(SELECT oid FROM pg_database WHERE datname = current_database())}::oid)
END as spcname, CASE contype WHEN 'p' THEN desp.description WHEN 'u' THEN desp.description WHEN 'x' THEN
desp.description ELSE des.description END AS comment, condeferrable, condeferred, conislocal,
substring(pg_catalog.array_to_string(cls.reloptions, ',') from 'fillfactor=([0-9]*)') AS fillfactor FROM
pg_catalog.pg_index idx JOIN pg_catalog.pg_class cls ON cls.oid=indexrelid LEFT OUTER JOIN pg_catalog.pg_tablespace
ta on ta.oid=cls.reltablespace LEFT JOIN pg_catalog.pg_depend dep ON (dep.classid = cls.tableoid AND dep.objid =
cls.oid AND dep.refobjsubid = '0' AND dep.refclassid=(SELECT oid FROM pg_catalog.pg_class WHERE
relname='pg_constraint') AND dep.deptype='i') LEFT OUTER JOIN pg_catalog.pg_constraint con ON (con.tableoid =
dep.refclassid AND con.oid = dep.refobjid) LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=cls.oid AND
des.classoid='pg_class'::regclass) LEFT OUTER JOIN pg_catalog.pg_description desp ON (desp.objoid=con.oid AND
desp.objsubid = 0 AND desp.classoid='pg_constraint'::regclass) WHERE indrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND cls.oid =
{(SELECT oid FROM pg_class WHERE relname = 'items_pkey')}::oid AND contype='p' ORDER BY cls.relname

SELECT * FROM ( SELECT pg_catalog.pg_get_indexdef({(SELECT oid FROM pg_class WHERE relname = 'items_pkey')} , 1 ,
true) AS column, 0 AS dummy UNION SELECT
pg_catalog.pg_get_indexdef({(SELECT oid FROM pg_class WHERE relname = 'items_pkey')}, 2, true) AS column, 1 AS dummy
) tmp ORDER BY dummy

SELECT ct.conindid as oid FROM pg_catalog.pg_constraint ct WHERE contype='p' AND ct.conname = ''

SELECT ct.conindid as oid FROM pg_catalog.pg_constraint ct WHERE contype='p' AND ct.conname = 'items_order_id_fkey'

SELECT DISTINCT ON(cls.relname) cls.oid, cls.relname as name, (SELECT (CASE WHEN count(i.inhrelid) > 0 THEN true
ELSE false END) FROM pg_catalog.pg_inherits i WHERE i.inhrelid = cls.oid) as is_inherited, CASE WHEN contype IN
('p', 'u', 'x') THEN desp.description ELSE des.description END AS description FROM pg_catalog.pg_index idx JOIN
pg_catalog.pg_class cls ON cls.oid=indexrelid JOIN pg_catalog.pg_class tab ON tab.oid=indrelid LEFT OUTER JOIN
pg_catalog.pg_tablespace ta on ta.oid=cls.reltablespace JOIN pg_catalog.pg_namespace n ON n.oid=tab.relnamespace
JOIN pg_catalog.pg_am am ON am.oid=cls.relam LEFT JOIN pg_catalog.pg_depend dep ON (dep.classid = cls.tableoid AND
dep.objid = cls.oid AND dep.refobjsubid = '0' AND dep.refclassid=(SELECT oid FROM pg_catalog.pg_class WHERE
relname='pg_constraint') AND dep.deptype='i') LEFT OUTER JOIN pg_catalog.pg_constraint con ON (con.tableoid =
dep.refclassid AND con.oid = dep.refobjid) LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=cls.oid AND
des.classoid='pg_class'::regclass) LEFT OUTER JOIN pg_catalog.pg_description desp ON (desp.objoid=con.oid AND
desp.objsubid = 0 AND desp.classoid='pg_constraint'::regclass) WHERE indrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::OID AND conname is NULL ORDER BY cls.relname

SELECT DISTINCT ON(cls.relname) cls.oid, cls.relname as name, (SELECT (CASE WHEN count(i.inhrelid) > 0 THEN true
ELSE false END) FROM pg_catalog.pg_inherits i WHERE i.inhrelid = cls.oid) as is_inherited, CASE WHEN contype IN
('p', 'u', 'x') THEN desp.description ELSE des.description END AS description FROM pg_catalog.pg_index idx JOIN
pg_catalog.pg_class cls ON cls.oid=indexrelid JOIN pg_catalog.pg_class tab ON tab.oid=indrelid LEFT OUTER JOIN
pg_catalog.pg_tablespace ta on ta.oid=cls.reltablespace JOIN pg_catalog.pg_namespace n ON n.oid=tab.relnamespace
JOIN pg_catalog.pg_am am ON am.oid=cls.relam LEFT JOIN pg_catalog.pg_depend dep ON (dep.classid = cls.tableoid AND
dep.objid = cls.oid AND dep.refobjsubid = '0' AND dep.refclassid=(SELECT oid FROM pg_catalog.pg_class WHERE
relname='pg_constraint') AND dep.deptype='i') LEFT OUTER JOIN pg_catalog.pg_constraint con ON (con.tableoid =
dep.refclassid AND con.oid = dep.refobjid) LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid=cls.oid AND
des.classoid='pg_class'::regclass) LEFT OUTER JOIN pg_catalog.pg_description desp ON (desp.objoid=con.oid AND
desp.objsubid = 0 AND desp.classoid='pg_constraint'::regclass) WHERE indrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::OID AND conname is NULL AND cls.oid =
{(SELECT oid FROM pg_class WHERE relname = 'items_by_mood')}::OID ORDER BY cls.relname

SELECT DISTINCT ON (cls.relname) cls.oid, cls.relname AS name, idx.indrelid, idx.indkey, idx.indisclustered,
idx.indisvalid, idx.indisunique, idx.indisprimary, n.nspname, idx.indnatts, COALESCE(cls.reltablespace, 0) AS
spcoid, idx.indnullsnotdistinct, COALESCE( CASE WHEN (cls.reltablespace <> 0 OR cls.relkind = 'I') THEN ta.spcname
ELSE ( SELECT sp.spcname FROM pg_catalog.pg_database dtb JOIN pg_catalog.pg_tablespace sp ON dtb.dattablespace =
sp.oid WHERE dtb.oid = {(SELECT oid FROM pg_database WHERE datname = current_database())}::oid LIMIT 1 ) END,
'pg_default' ) AS spcname, con.conname, tab.relname AS tabname, idx.indclass, con.oid AS conoid, CASE WHEN
con.contype IN ('p', 'u', 'x') THEN desp.description ELSE des.description END AS description, ( SELECT
array_agg(DISTINCT e.extname) FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON d.refobjid = e.oid WHERE
d.objid = cls.oid ) AS dependsonextensions, pg_catalog.pg_get_expr(idx.indpred, idx.indrelid, true) AS
indconstraint, con.contype, con.condeferrable, con.condeferred, am.amname, EXISTS ( SELECT 1 FROM
pg_catalog.pg_inherits inh WHERE inh.inhrelid = cls.oid ) AS is_inherited, substring(array_to_string(cls.reloptions,
',') FROM 'fillfactor=([0-9]*)')::int AS fillfactor, substring(array_to_string(cls.reloptions, ',') FROM
'deduplicate_items=([a-z]*)')::boolean AS deduplicate_items, substring(array_to_string(cls.reloptions, ',') FROM
'gin_pending_list_limit=([0-9]*)')::int AS gin_pending_list_limit, substring(array_to_string(cls.reloptions, ',')
FROM 'pages_per_range=([0-9]*)')::int AS pages_per_range, substring(array_to_string(cls.reloptions, ',') FROM
'buffering=([a-z]*)') AS buffering, substring(array_to_string(cls.reloptions, ',') FROM
'fastupdate=([a-z]*)')::boolean AS fastupdate, substring(array_to_string(cls.reloptions, ',') FROM
'autosummarize=([a-z]*)')::boolean AS autosummarize, substring(array_to_string(cls.reloptions, ',') FROM
'lists=([0-9]*)')::int AS lists , (cls.oid <= 16383::oid) AS is_sys_idx FROM pg_catalog.pg_index idx JOIN
pg_catalog.pg_class cls ON cls.oid = idx.indexrelid JOIN pg_catalog.pg_class tab ON tab.oid = idx.indrelid LEFT JOIN
pg_catalog.pg_tablespace ta ON ta.oid = cls.reltablespace JOIN pg_catalog.pg_namespace n ON n.oid = tab.relnamespace
JOIN pg_catalog.pg_am am ON am.oid = cls.relam LEFT JOIN pg_catalog.pg_depend dep ON dep.classid = cls.tableoid AND
dep.objid = cls.oid AND dep.refobjsubid = 0 AND dep.refclassid = (SELECT oid FROM pg_catalog.pg_class WHERE relname
= 'pg_constraint') AND dep.deptype = 'i' LEFT JOIN pg_catalog.pg_constraint con ON con.tableoid = dep.refclassid AND
con.oid = dep.refobjid LEFT JOIN pg_catalog.pg_description des ON des.objoid = cls.oid AND des.classoid =
'pg_class'::regclass LEFT JOIN pg_catalog.pg_description desp ON desp.objoid = con.oid AND desp.objsubid = 0 AND
desp.classoid = 'pg_constraint'::regclass WHERE idx.indrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::OID AND con.conname IS NULL ORDER BY cls.relname

SELECT DISTINCT ON (cls.relname) cls.oid, cls.relname AS name, idx.indrelid, idx.indkey, idx.indisclustered,
idx.indisvalid, idx.indisunique, idx.indisprimary, n.nspname, idx.indnatts, COALESCE(cls.reltablespace, 0) AS
spcoid, idx.indnullsnotdistinct, COALESCE( CASE WHEN (cls.reltablespace <> 0 OR cls.relkind = 'I') THEN ta.spcname
ELSE ( SELECT sp.spcname FROM pg_catalog.pg_database dtb JOIN pg_catalog.pg_tablespace sp ON dtb.dattablespace =
sp.oid WHERE dtb.oid = {(SELECT oid FROM pg_database WHERE datname = current_database())}::oid LIMIT 1 ) END,
'pg_default' ) AS spcname, con.conname, tab.relname AS tabname, idx.indclass, con.oid AS conoid, CASE WHEN
con.contype IN ('p', 'u', 'x') THEN desp.description ELSE des.description END AS description, ( SELECT
array_agg(DISTINCT e.extname) FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON d.refobjid = e.oid WHERE
d.objid = cls.oid ) AS dependsonextensions, pg_catalog.pg_get_expr(idx.indpred, idx.indrelid, true) AS
indconstraint, con.contype, con.condeferrable, con.condeferred, am.amname, EXISTS ( SELECT 1 FROM
pg_catalog.pg_inherits inh WHERE inh.inhrelid = cls.oid ) AS is_inherited, substring(array_to_string(cls.reloptions,
',') FROM 'fillfactor=([0-9]*)')::int AS fillfactor, substring(array_to_string(cls.reloptions, ',') FROM
'deduplicate_items=([a-z]*)')::boolean AS deduplicate_items, substring(array_to_string(cls.reloptions, ',') FROM
'gin_pending_list_limit=([0-9]*)')::int AS gin_pending_list_limit, substring(array_to_string(cls.reloptions, ',')
FROM 'pages_per_range=([0-9]*)')::int AS pages_per_range, substring(array_to_string(cls.reloptions, ',') FROM
'buffering=([a-z]*)') AS buffering, substring(array_to_string(cls.reloptions, ',') FROM
'fastupdate=([a-z]*)')::boolean AS fastupdate, substring(array_to_string(cls.reloptions, ',') FROM
'autosummarize=([a-z]*)')::boolean AS autosummarize, substring(array_to_string(cls.reloptions, ',') FROM
'lists=([0-9]*)')::int AS lists , (cls.oid <= 16383::oid) AS is_sys_idx FROM pg_catalog.pg_index idx JOIN
pg_catalog.pg_class cls ON cls.oid = idx.indexrelid JOIN pg_catalog.pg_class tab ON tab.oid = idx.indrelid LEFT JOIN
pg_catalog.pg_tablespace ta ON ta.oid = cls.reltablespace JOIN pg_catalog.pg_namespace n ON n.oid = tab.relnamespace
JOIN pg_catalog.pg_am am ON am.oid = cls.relam LEFT JOIN pg_catalog.pg_depend dep ON dep.classid = cls.tableoid AND
dep.objid = cls.oid AND dep.refobjsubid = 0 AND dep.refclassid = (SELECT oid FROM pg_catalog.pg_class WHERE relname
= 'pg_constraint') AND dep.deptype = 'i' LEFT JOIN pg_catalog.pg_constraint con ON con.tableoid = dep.refclassid AND
con.oid = dep.refobjid LEFT JOIN pg_catalog.pg_description des ON des.objoid = cls.oid AND des.classoid =
'pg_class'::regclass LEFT JOIN pg_catalog.pg_description desp ON desp.objoid = con.oid AND desp.objsubid = 0 AND
desp.classoid = 'pg_constraint'::regclass WHERE idx.indrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::OID AND con.conname IS NULL AND cls.oid =
{(SELECT oid FROM pg_class WHERE relname = 'items_by_mood')}::OID ORDER BY cls.relname

SELECT oid, amname FROM pg_catalog.pg_am

SELECT t.oid, t.tgname as name, t.tgenabled AS is_enable_trigger, des.description FROM pg_catalog.pg_trigger t LEFT
OUTER JOIN pg_catalog.pg_description des ON (des.objoid=t.oid AND des.classoid='pg_trigger'::regclass) WHERE NOT
tgisinternal AND tgrelid = {(SELECT oid FROM pg_class WHERE relname = 'items')}::OID ORDER BY tgname

SELECT t.oid, t.tgname as name, t.tgenabled AS is_enable_trigger, des.description FROM pg_catalog.pg_trigger t LEFT
OUTER JOIN pg_catalog.pg_description des ON (des.objoid=t.oid AND des.classoid='pg_trigger'::regclass) WHERE NOT
tgisinternal AND tgrelid = {(SELECT oid FROM pg_class WHERE relname = 'items')}::OID AND t.oid =
{(SELECT oid FROM pg_trigger WHERE tgname = 'touched')}::OID ORDER BY tgname

SELECT t.oid,t.tgname AS name, t.xmin, t.tgenabled AS is_enable_trigger, t.*, relname, CASE WHEN relkind = 'r' THEN
TRUE ELSE FALSE END AS parentistable, nspname, des.description, l.lanname, p.proname AS tfunction,
COALESCE(pg_catalog.substring(pg_catalog.pg_get_triggerdef(t.oid, true), 'WHEN (.*) EXECUTE (PROCEDURE|FUNCTION)'),
pg_catalog.substring(pg_catalog.pg_get_triggerdef(t.oid, true), 'WHEN (.*) \$trigger')) AS whenclause,
(pg_catalog.string_to_array(encode(tgargs, 'escape'), E'\\000')::text[])[1:tgnargs] AS custom_tgargs, (CASE WHEN
t.oid <= 16383::oid THEN true ElSE false END) AS is_sys_trigger, (CASE WHEN tgconstraint != 0::OID THEN true ElSE
false END) AS is_constraint_trigger, tgoldtable, tgnewtable FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class cl
ON cl.oid=tgrelid JOIN pg_catalog.pg_namespace na ON na.oid=relnamespace LEFT OUTER JOIN pg_catalog.pg_description
des ON (des.objoid=t.oid AND des.classoid='pg_trigger'::regclass) LEFT OUTER JOIN pg_catalog.pg_proc p ON
p.oid=t.tgfoid LEFT OUTER JOIN pg_catalog.pg_language l ON l.oid=p.prolang WHERE NOT tgisinternal AND tgrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::OID ORDER BY tgname

SELECT t.oid,t.tgname AS name, t.xmin, t.tgenabled AS is_enable_trigger, t.*, relname, CASE WHEN relkind = 'r' THEN
TRUE ELSE FALSE END AS parentistable, nspname, des.description, l.lanname, p.proname AS tfunction,
COALESCE(pg_catalog.substring(pg_catalog.pg_get_triggerdef(t.oid, true), 'WHEN (.*) EXECUTE (PROCEDURE|FUNCTION)'),
pg_catalog.substring(pg_catalog.pg_get_triggerdef(t.oid, true), 'WHEN (.*) \$trigger')) AS whenclause,
(pg_catalog.string_to_array(encode(tgargs, 'escape'), E'\\000')::text[])[1:tgnargs] AS custom_tgargs, (CASE WHEN
t.oid <= 16383::oid THEN true ElSE false END) AS is_sys_trigger, (CASE WHEN tgconstraint != 0::OID THEN true ElSE
false END) AS is_constraint_trigger, tgoldtable, tgnewtable FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class cl
ON cl.oid=tgrelid JOIN pg_catalog.pg_namespace na ON na.oid=relnamespace LEFT OUTER JOIN pg_catalog.pg_description
des ON (des.objoid=t.oid AND des.classoid='pg_trigger'::regclass) LEFT OUTER JOIN pg_catalog.pg_proc p ON
p.oid=t.tgfoid LEFT OUTER JOIN pg_catalog.pg_language l ON l.oid=p.prolang WHERE NOT tgisinternal AND tgrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::OID AND t.oid =
{(SELECT oid FROM pg_trigger WHERE tgname = 'touched')}::OID ORDER BY tgname

SELECT pl.oid AS oid, pl.polname AS name FROM pg_catalog.pg_policy pl WHERE pl.polrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')} ORDER BY pl.polname

SELECT pl.oid AS oid, pl.polname AS name, rw.permissive as type, rw.cmd AS event, rw.qual AS using, rw.qual AS
using_orig, rw.with_check AS withcheck, rw.with_check AS withcheck_orig, rw.roles AS policyowner, des.description
FROM pg_catalog.pg_policy pl JOIN pg_catalog.pg_policies rw ON pl.polname=rw.policyname JOIN pg_catalog.pg_namespace
n ON n.nspname=rw.schemaname JOIN pg_catalog.pg_class rel on rel.relname=rw.tablename LEFT JOIN
pg_catalog.pg_description des ON des.objoid = pl.oid AND des.classoid = 'pg_policy'::regclass WHERE pl.polrelid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}

SELECT rw.oid AS oid, rw.rulename AS name, CASE WHEN rw.ev_enabled != 'D' THEN True ELSE False END AS enabled,
rw.ev_enabled AS is_enable_rule, description AS comment FROM pg_catalog.pg_rewrite rw LEFT OUTER JOIN
pg_catalog.pg_description des ON (des.objoid=rw.oid AND des.classoid='pg_rewrite'::regclass) WHERE rw.ev_class =
{(SELECT oid FROM pg_class WHERE relname = 'items')} ORDER BY rw.rulename

SELECT rw.oid AS oid, rw.rulename AS name, rw.ev_type, rw.is_instead, relname AS view, CASE WHEN relkind = 'r' THEN
TRUE ELSE FALSE END AS parentistable, nspname AS schema, description AS comment, CASE WHEN rw.rulename = '_RETURN'
THEN True ELSE False END AS system_rule, CASE WHEN rw.ev_enabled != 'D' THEN True ELSE False END AS enabled,
rw.ev_enabled AS is_enable_rule, pg_catalog.pg_get_ruledef(rw.oid) AS definition FROM pg_catalog.pg_rewrite rw JOIN
pg_catalog.pg_class cl ON cl.oid=rw.ev_class JOIN pg_catalog.pg_namespace nsp ON nsp.oid=cl.relnamespace LEFT OUTER
JOIN pg_catalog.pg_description des ON (des.objoid=rw.oid AND des.classoid='pg_rewrite'::regclass) WHERE ev_class =
{(SELECT oid FROM pg_class WHERE relname = 'items')} ORDER BY rw.rulename

SELECT DISTINCT dep.deptype, dep.classid, cl.relkind, ad.adbin, pg_get_expr(ad.adbin, ad.adrelid) as adsrc, CASE
WHEN cl.relkind IS NOT NULL THEN CASE WHEN cl.relkind = 'r' THEN cl.relkind::text || COALESCE(dep.objsubid::text,
'') ELSE cl.relkind::text END WHEN tg.oid IS NOT NULL THEN 'Tr'::text WHEN ty.oid IS NOT NULL THEN CASE WHEN
ty.typtype = 'd' THEN 'd'::text ELSE 'Ty'::text END WHEN ns.oid IS NOT NULL THEN 'n'::text WHEN pr.oid IS NOT NULL
AND (prtyp.typname = 'trigger' OR prtyp.typname = 'event_trigger') THEN 'Pt'::text WHEN pr.oid IS NOT NULL THEN CASE
WHEN pr.prokind = 'p' THEN 'Pp'::text ELSE 'Pf'::text END WHEN la.oid IS NOT NULL THEN 'l'::text WHEN rw.oid IS NOT
NULL THEN 'Rl'::text WHEN co.oid IS NOT NULL THEN CASE WHEN co.contypid > 0 THEN 'Cd' ELSE 'C'::text ||
contype::text END WHEN ad.oid IS NOT NULL THEN 'A'::text WHEN fs.oid IS NOT NULL THEN 'Fs'::text WHEN fdw.oid IS NOT
NULL THEN 'Fw'::text WHEN evt.oid IS NOT NULL THEN 'Et'::text WHEN col.oid IS NOT NULL THEN 'Co'::text WHEN ftsc.oid
IS NOT NULL THEN 'Fc'::text WHEN ftsp.oid IS NOT NULL THEN 'Fp'::text WHEN ftsd.oid IS NOT NULL THEN 'Fd'::text WHEN
ftst.oid IS NOT NULL THEN 'Ft'::text WHEN ext.oid IS NOT NULL THEN 'Ex'::text WHEN pl.oid IS NOT NULL THEN
'Rs'::text ELSE '' END AS type, COALESCE(coc.relname, clrw.relname) AS ownertable, CASE WHEN cl.relname IS NOT NULL
AND att.attname IS NOT NULL THEN cl.relname || COALESCE('.' || att.attname, '') ELSE COALESCE(cl.relname,
co.conname, pr.proname, tg.tgname, ty.typname, la.lanname, rw.rulename, ns.nspname, fs.srvname, fdw.fdwname,
evt.evtname, col.collname, ftsc.cfgname, ftsd.dictname, ftsp.prsname, ftst.tmplname, ext.extname, pl.polname) END AS
refname, COALESCE(nsc.nspname, nso.nspname, nsp.nspname, nst.nspname, nsrw.nspname, colns.nspname, ftscns.nspname,
ftsdns.nspname, ftspns.nspname, ftstns.nspname) AS nspname, CASE WHEN inhits.inhparent IS NOT NULL THEN '1' ELSE '0'
END AS is_inherits, CASE WHEN inhed.inhparent IS NOT NULL THEN '1' ELSE '0' END AS is_inherited FROM
pg_catalog.pg_depend dep LEFT JOIN pg_catalog.pg_class cl ON dep.objid=cl.oid LEFT JOIN pg_catalog.pg_attribute att
ON dep.objid=att.attrelid AND dep.objsubid=att.attnum LEFT JOIN pg_catalog.pg_namespace nsc ON
cl.relnamespace=nsc.oid LEFT JOIN pg_catalog.pg_proc pr ON dep.objid=pr.oid LEFT JOIN pg_catalog.pg_namespace nsp ON
pr.pronamespace=nsp.oid LEFT JOIN pg_catalog.pg_trigger tg ON dep.objid=tg.oid LEFT JOIN pg_catalog.pg_type ty ON
dep.objid=ty.oid LEFT JOIN pg_catalog.pg_namespace nst ON ty.typnamespace=nst.oid LEFT JOIN pg_catalog.pg_constraint
co ON dep.objid=co.oid LEFT JOIN pg_catalog.pg_class coc ON co.conrelid=coc.oid LEFT JOIN pg_catalog.pg_namespace
nso ON co.connamespace=nso.oid LEFT JOIN pg_catalog.pg_rewrite rw ON dep.objid=rw.oid LEFT JOIN pg_catalog.pg_class
clrw ON clrw.oid=rw.ev_class LEFT JOIN pg_catalog.pg_namespace nsrw ON clrw.relnamespace=nsrw.oid LEFT JOIN
pg_catalog.pg_language la ON dep.objid=la.oid LEFT JOIN pg_catalog.pg_namespace ns ON dep.objid=ns.oid LEFT JOIN
pg_catalog.pg_attrdef ad ON ad.oid=dep.objid LEFT JOIN pg_catalog.pg_foreign_server fs ON fs.oid=dep.objid LEFT JOIN
pg_catalog.pg_foreign_data_wrapper fdw ON fdw.oid=dep.objid LEFT JOIN pg_catalog.pg_type prtyp ON prtyp.oid =
pr.prorettype LEFT JOIN pg_catalog.pg_inherits inhits ON (inhits.inhrelid=dep.objid) LEFT JOIN
pg_catalog.pg_inherits inhed ON (inhed.inhparent=dep.objid) LEFT JOIN pg_catalog.pg_event_trigger evt ON
evt.oid=dep.objid LEFT JOIN pg_catalog.pg_collation col ON col.oid=dep.objid LEFT JOIN pg_catalog.pg_namespace colns
ON col.collnamespace=colns.oid LEFT JOIN pg_catalog.pg_ts_config ftsc ON ftsc.oid=dep.objid LEFT JOIN
pg_catalog.pg_namespace ftscns ON ftsc.cfgnamespace=ftscns.oid LEFT JOIN pg_catalog.pg_ts_dict ftsd ON
ftsd.oid=dep.objid LEFT JOIN pg_catalog.pg_namespace ftsdns ON ftsd.dictnamespace=ftsdns.oid LEFT JOIN
pg_catalog.pg_ts_parser ftsp ON ftsp.oid=dep.objid LEFT JOIN pg_catalog.pg_namespace ftspns ON
ftsp.prsnamespace=ftspns.oid LEFT JOIN pg_catalog.pg_ts_template ftst ON ftst.oid=dep.objid LEFT JOIN
pg_catalog.pg_namespace ftstns ON ftst.tmplnamespace=ftstns.oid LEFT JOIN pg_catalog.pg_extension ext ON
ext.oid=dep.objid LEFT JOIN pg_catalog.pg_policy pl ON pl.oid=dep.objid WHERE
dep.objid={(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND classid IN ( SELECT oid FROM
pg_catalog.pg_class WHERE relname IN ('pg_class', 'pg_constraint', 'pg_conversion', 'pg_language', 'pg_proc',
'pg_rewrite', 'pg_namespace', 'pg_trigger', 'pg_type', 'pg_attrdef', 'pg_event_trigger', 'pg_foreign_server',
'pg_foreign_data_wrapper', 'pg_collation', 'pg_ts_config', 'pg_ts_dict', 'pg_ts_parser', 'pg_ts_template',
'pg_extension', 'pg_policy')) ORDER BY classid, cl.relkind

SELECT DISTINCT dep.deptype, dep.refclassid, dep.refobjid, cl.relkind, ad.adbin, pg_catalog.pg_get_expr(ad.adbin,
ad.adrelid) as adsrc, CASE WHEN cl.relkind IS NOT NULL THEN CASE WHEN cl.relkind = 'r' THEN cl.relkind::text ||
COALESCE(dep.refobjsubid::text, '') ELSE cl.relkind::text END WHEN tg.oid IS NOT NULL THEN 'Tr'::text WHEN ty.oid IS
NOT NULL THEN CASE WHEN ty.typtype = 'd' THEN 'd'::text ELSE 'Ty'::text END WHEN ns.oid IS NOT NULL THEN 'n'::text
WHEN pr.oid IS NOT NULL AND (prtyp.typname = 'trigger' OR prtyp.typname = 'event_trigger') THEN 'Pt'::text WHEN
pr.oid IS NOT NULL THEN CASE WHEN pr.prokind = 'p' THEN 'Pp'::text ELSE 'Pf'::text END WHEN la.oid IS NOT NULL THEN
'l'::text WHEN rw.oid IS NOT NULL THEN 'Rl'::text WHEN co.oid IS NOT NULL THEN CASE WHEN co.contypid > 0 THEN 'Cd'
ELSE 'C'::text || contype::text END WHEN ad.oid IS NOT NULL THEN 'A'::text WHEN fs.oid IS NOT NULL THEN 'Fs'::text
WHEN fdw.oid IS NOT NULL THEN 'Fw'::text WHEN evt.oid IS NOT NULL THEN 'Et'::text WHEN col.oid IS NOT NULL THEN
'Co'::text WHEN ftsc.oid IS NOT NULL THEN 'Fc'::text WHEN ftsp.oid IS NOT NULL THEN 'Fp'::text WHEN ftsd.oid IS NOT
NULL THEN 'Fd'::text WHEN ftst.oid IS NOT NULL THEN 'Ft'::text WHEN ext.oid IS NOT NULL THEN 'Ex'::text WHEN pl.oid
IS NOT NULL THEN 'Rs'::text ELSE '' END AS type, COALESCE(coc.relname, clrw.relname) AS ownertable, CASE WHEN
cl.relname IS NOT NULL OR att.attname IS NOT NULL THEN cl.relname || COALESCE('.' || att.attname, '') ELSE
COALESCE(cl.relname, co.conname, pr.proname, tg.tgname, ty.typname, la.lanname, rw.rulename, ns.nspname, fs.srvname,
fdw.fdwname, evt.evtname, col.collname, ftsc.cfgname, ftsd.dictname, ftsp.prsname, ftst.tmplname, ext.extname,
pl.polname) END AS refname, COALESCE(nsc.nspname, nso.nspname, nsp.nspname, nst.nspname, nsrw.nspname,
colns.nspname, ftscns.nspname, ftsdns.nspname, ftspns.nspname, ftstns.nspname) AS nspname, CASE WHEN
inhits.inhparent IS NOT NULL THEN '1' ELSE '0' END AS is_inherits, CASE WHEN inhed.inhparent IS NOT NULL THEN '1'
ELSE '0' END AS is_inherited FROM pg_catalog.pg_depend dep LEFT JOIN pg_catalog.pg_class cl ON dep.refobjid=cl.oid
LEFT JOIN pg_catalog.pg_attribute att ON dep.refobjid=att.attrelid AND dep.refobjsubid=att.attnum LEFT JOIN
pg_catalog.pg_namespace nsc ON cl.relnamespace=nsc.oid LEFT JOIN pg_catalog.pg_proc pr ON dep.refobjid=pr.oid LEFT
JOIN pg_catalog.pg_namespace nsp ON pr.pronamespace=nsp.oid LEFT JOIN pg_catalog.pg_trigger tg ON
dep.refobjid=tg.oid LEFT JOIN pg_catalog.pg_type ty ON dep.refobjid=ty.oid LEFT JOIN pg_catalog.pg_namespace nst ON
ty.typnamespace=nst.oid LEFT JOIN pg_catalog.pg_constraint co ON dep.refobjid=co.oid LEFT JOIN pg_catalog.pg_class
coc ON co.conrelid=coc.oid LEFT JOIN pg_catalog.pg_namespace nso ON co.connamespace=nso.oid LEFT JOIN
pg_catalog.pg_rewrite rw ON dep.refobjid=rw.oid LEFT JOIN pg_catalog.pg_class clrw ON clrw.oid=rw.ev_class LEFT JOIN
pg_catalog.pg_namespace nsrw ON clrw.relnamespace=nsrw.oid LEFT JOIN pg_catalog.pg_language la ON
dep.refobjid=la.oid LEFT JOIN pg_catalog.pg_namespace ns ON dep.refobjid=ns.oid LEFT JOIN pg_catalog.pg_attrdef ad
ON ad.adrelid=att.attrelid AND ad.adnum=att.attnum LEFT JOIN pg_catalog.pg_foreign_server fs ON fs.oid=dep.refobjid
LEFT JOIN pg_catalog.pg_foreign_data_wrapper fdw ON fdw.oid=dep.refobjid LEFT JOIN pg_catalog.pg_type prtyp ON
prtyp.oid = pr.prorettype LEFT JOIN pg_catalog.pg_inherits inhits ON (inhits.inhrelid=dep.refobjid) LEFT JOIN
pg_catalog.pg_inherits inhed ON (inhed.inhparent=dep.refobjid) LEFT JOIN pg_catalog.pg_event_trigger evt ON
evt.oid=dep.refobjid LEFT JOIN pg_catalog.pg_collation col ON col.oid=dep.refobjid LEFT JOIN pg_catalog.pg_namespace
colns ON col.collnamespace=colns.oid LEFT JOIN pg_catalog.pg_ts_config ftsc ON ftsc.oid=dep.refobjid LEFT JOIN
pg_catalog.pg_namespace ftscns ON ftsc.cfgnamespace=ftscns.oid LEFT JOIN pg_catalog.pg_ts_dict ftsd ON
ftsd.oid=dep.refobjid LEFT JOIN pg_catalog.pg_namespace ftsdns ON ftsd.dictnamespace=ftsdns.oid LEFT JOIN
pg_catalog.pg_ts_parser ftsp ON ftsp.oid=dep.refobjid LEFT JOIN pg_catalog.pg_namespace ftspns ON
ftsp.prsnamespace=ftspns.oid LEFT JOIN pg_catalog.pg_ts_template ftst ON ftst.oid=dep.refobjid LEFT JOIN
pg_catalog.pg_namespace ftstns ON ftst.tmplnamespace=ftstns.oid LEFT JOIN pg_catalog.pg_extension ext ON
ext.oid=dep.refobjid LEFT JOIN pg_catalog.pg_policy pl ON pl.oid=dep.refobjid WHERE
dep.objid={(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND refclassid IN ( SELECT oid FROM
pg_catalog.pg_class WHERE relname IN ('pg_class', 'pg_constraint', 'pg_conversion', 'pg_language', 'pg_proc',
'pg_rewrite', 'pg_namespace', 'pg_trigger', 'pg_type', 'pg_attrdef', 'pg_event_trigger', 'pg_foreign_server',
'pg_foreign_data_wrapper', 'pg_collation', 'pg_ts_config', 'pg_ts_dict', 'pg_ts_parser', 'pg_ts_template',
'pg_extension', 'pg_policy')) UNION SELECT DISTINCT dep.deptype, dep.refclassid, dep.refobjid, cl.relkind, ad.adbin,
pg_catalog.pg_get_expr(ad.adbin, ad.adrelid) as adsrc, CASE WHEN cl.relkind IS NOT NULL THEN CASE WHEN cl.relkind =
'r' THEN cl.relkind::text || COALESCE(dep.refobjsubid::text, '') ELSE cl.relkind::text END ELSE '' END AS type, NULL
AS ownertable, CASE WHEN cl.relname IS NOT NULL OR att.attname IS NOT NULL THEN cl.relname || COALESCE('.' ||
att.attname, '') ELSE cl.relname END AS refname, nsc.nspname AS nspname, '0' AS is_inherits, '0' AS is_inherited
FROM pg_catalog.pg_depend dep LEFT JOIN pg_catalog.pg_class cl ON dep.refobjid=cl.oid LEFT JOIN
pg_catalog.pg_attribute att ON dep.refobjid=att.attrelid AND dep.refobjsubid=att.attnum LEFT JOIN
pg_catalog.pg_namespace nsc ON cl.relnamespace=nsc.oid LEFT JOIN pg_catalog.pg_attrdef ad ON ad.adrelid=att.attrelid
AND ad.adnum=att.attnum WHERE dep.objid IN (SELECT oid FROM pg_catalog.pg_rewrite WHERE
ev_class={(SELECT oid FROM pg_class WHERE relname = 'items')}) AND cl.relkind not in ('v', 'm') ORDER BY refclassid,
relkind

-- View data, and a query of one's own.

SELECT at.attname, at.attnum, ty.typname FROM pg_catalog.pg_attribute at LEFT JOIN pg_catalog.pg_type ty ON (ty.oid
= at.atttypid) WHERE attrelid={(SELECT oid FROM pg_class WHERE relname = 'items')}::oid AND attnum = ANY ( (SELECT
con.conkey FROM pg_catalog.pg_class rel LEFT OUTER JOIN pg_catalog.pg_constraint con ON con.conrelid=rel.oid AND
con.contype='p' WHERE rel.relkind IN ('r','s','t', 'p') AND rel.oid =
{(SELECT oid FROM pg_class WHERE relname = 'items')}::oid)::oid[])

SELECT * FROM public.items ORDER BY order_id ASC, n ASC LIMIT 1000
