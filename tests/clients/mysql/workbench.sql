-- What MySQL Workbench 8.0 sends: on connecting, from its navigator, and from its pages for administrators. An
-- empty line ends a statement. The opening statements of the driver are those of connectorj.sql.

-- Connecting, the user's connection and its own.

SELECT current_user()

SHOW SESSION STATUS LIKE 'Ssl_cipher'

show character set where charset = 'utf8mb4'

SET NAMES 'utf8mb4'

SET SESSION SQL_MODE='ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'

SET CHARACTER SET utf8mb4

SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ

SET SQL_SAFE_UPDATES=1

SET @@SESSION.wait_timeout=610

SET @@SESSION.interactive_timeout=610

SELECT CONNECTION_ID()

SHOW SESSION VARIABLES LIKE 'lower_case_table_names'

SHOW SESSION VARIABLES LIKE 'sql_mode'

SHOW SESSION VARIABLES LIKE 'version_comment'

SHOW SESSION VARIABLES LIKE 'version'

SHOW SESSION VARIABLES LIKE 'version_compile_os'

SHOW SESSION VARIABLES LIKE 'offline_mode'

SHOW SESSION VARIABLES LIKE 'wait_timeout'

SHOW SESSION VARIABLES LIKE 'interactive_timeout'

show engines

show charset

show collation

show variables

SHOW DATABASES

do 1

-- The navigator.

USE `shop`

SHOW FULL TABLES FROM `shop`

SHOW FULL TABLES FROM `shop` LIKE 'orders'

SHOW PROCEDURE STATUS WHERE Db='shop'

SHOW FUNCTION STATUS WHERE Db='shop'

SHOW FULL COLUMNS FROM `shop`.`orders`

SHOW TRIGGERS FROM `shop` LIKE 'orders'

SHOW TRIGGERS FROM `shop` WHERE `Table` = 'orders'

SHOW INDEXES FROM `shop`.`orders`

SHOW CREATE TABLE `shop`.`orders`

SHOW CREATE SCHEMA `shop`

SHOW CREATE VIEW `shop`.`totals`

SHOW CREATE TRIGGER `shop`.`stamp`

SHOW CREATE PROCEDURE `shop`.`tidy`

SHOW CREATE FUNCTION `shop`.`twice`

SHOW TABLE STATUS FROM `shop` LIKE 'orders'

SELECT DEFINER, SECURITY_TYPE, VIEW_DEFINITION FROM INFORMATION_SCHEMA.VIEWS WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME = 'totals'

SELECT COLUMN_TYPE FROM INFORMATION_SCHEMA.COLUMNS WHERE table_schema = 'shop' and table_name = 'orders' and column_name = 'total'

SHOW VARIABLES LIKE 'innodb_ft_num_word_optimize'

SELECT @@innodb_optimize_fulltext_only

-- The editor.

SELECT * FROM shop.orders LIMIT 0, 1000

EXPLAIN SELECT * FROM shop.orders

EXPLAIN FORMAT=JSON SELECT * FROM shop.orders

SELECT st.* FROM performance_schema.events_statements_current st JOIN performance_schema.threads thr ON thr.thread_id = st.thread_id WHERE thr.processlist_id = 7

SHOW STATUS LIKE 'Handler_%'

COMMIT

ROLLBACK

-- Pages for administrators.

SHOW GLOBAL STATUS

SHOW GLOBAL VARIABLES

SHOW PLUGINS

SHOW PROCESSLIST

SHOW FULL PROCESSLIST

DESCRIBE mysql.db

SELECT user, host FROM performance_schema.setup_actors

SHOW variables LIKE 'performance_schema%'

SELECT '<global>' as scope,user,host FROM mysql.user WHERE select_priv='Y'
