//! Definitions: CREATE on the schema of what is made, ownership (ADMIN) of what is changed, and what the
//! queries and expressions inside need.

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{
    AlterRoleStmt, AlterTableCmd, AlterTableStmt, CreateStmt, DefElem, DropStmt, IndexStmt,
    RangeVar, RenameStmt, ViewStmt,
};
use pg_raw_parse::raw::{AlterTableType, ConstrType, DropBehavior, ObjectType, ReindexObjectType};

use super::definitions::is_serial;
use super::functions::words;
use super::needs::Target;
use super::nodes::{
    after_analysis, cluster_statements, database_definitions, from_items, json_expressions, pieces,
    plain_expressions, queries, relation_definitions, role_statements, schema_definitions,
    session_statements, type_definitions, upkeep_statements,
};
use super::objects::{Naming, naming};
use super::statement::Kind;
use super::walk::{Walk, Walked, refuse_temporary, unsupported, unsupported_hint};
use crate::sql::access::Object;
use crate::sql::statement::NotUnderstood;

impl<'t> Walk<'t> {
    /// A definition that lives in a schema.
    pub(super) fn schema_definition(&mut self, node: Node<'t>) -> Walked<Kind> {
        match node {
            Node::CreateStmt(create) => self.create_table(create),
            Node::AlterTableStmt(alter) => self.alter_table(alter),
            Node::IndexStmt(index) => self.create_index(index),
            Node::ViewStmt(view) => self.create_view(view),
            Node::CreateSeqStmt(create) => {
                self.opt(create.sequence(), Self::created)?;
                self.owned_by(create.options())?;
                Ok(Kind::ddl("CREATE SEQUENCE"))
            }
            Node::AlterSeqStmt(alter) => {
                self.opt(alter.sequence(), |walk, var| {
                    walk.changed_relation(var, alter.missing_ok)
                })?;
                self.owned_by(alter.options())?;
                Ok(Kind::ddl("ALTER SEQUENCE"))
            }
            Node::CreateStatsStmt(stats) => {
                let names: Vec<_> =
                    stats.defnames().iter().filter_map(|name| name.sval()).collect();
                for var in stats.relations() {
                    if let Some(target) = self.altered(var, false)?
                        && names.is_empty()
                    {
                        self.create_in(target.schema);
                    }
                }
                if !names.is_empty() {
                    self.created_name(&names)?;
                }
                self.definition_parts("", stats.exprs())?;
                Ok(Kind::ddl("CREATE STATISTICS"))
            }
            Node::AlterStatsStmt(stats) => {
                let names: Vec<_> =
                    stats.defnames().iter().filter_map(|name| name.sval()).collect();
                self.other(Naming::Other, &names, false)?;
                Ok(Kind::ddl("ALTER STATISTICS"))
            }
            type_definitions!() => self.type_definition(node),
            Node::CreatePolicyStmt(policy) => {
                self.policy(policy.table(), [policy.qual(), policy.with_check()])?;
                Ok(Kind::ddl("CREATE POLICY"))
            }
            Node::AlterPolicyStmt(policy) => {
                self.policy(policy.table(), [policy.qual(), policy.with_check()])?;
                Ok(Kind::ddl("ALTER POLICY"))
            }
            upkeep_statements!() => self.upkeep(node),
            Node::None
            | Node::NodeList(_)
            | plain_expressions!()
            | json_expressions!()
            | pieces!()
            | from_items!()
            | queries!()
            | session_statements!()
            | database_definitions!()
            | role_statements!()
            | cluster_statements!()
            | after_analysis!() => unsupported("A definition of this kind is not supported."),
        }
    }

    /// Domains and types.
    fn type_definition(&mut self, node: Node<'t>) -> Walked<Kind> {
        match node {
            Node::CreateDomainStmt(domain) => {
                let names: Vec<_> =
                    domain.domainname().iter().filter_map(|name| name.sval()).collect();
                self.created_name(&names)?;
                self.opt(domain.type_name(), Self::type_name)?;
                for constraint in domain.constraints() {
                    self.in_definition("", |walk| walk.constraint(constraint))?;
                }
                Ok(Kind::ddl("CREATE DOMAIN"))
            }
            Node::AlterDomainStmt(domain) => {
                self.object_words(Naming::Type, domain.type_name())?;
                self.in_definition("", |walk| walk.definition_node(domain.def()))?;
                Ok(Kind::ddl("ALTER DOMAIN"))
            }
            Node::CompositeTypeStmt(composite) => {
                self.opt(composite.typevar(), |walk, var| {
                    if walk.is_temporary(var) { refuse_temporary() } else { walk.created(var) }
                })?;
                for column in composite.coldeflist() {
                    self.in_definition("", |walk| walk.column_def(column))?;
                }
                Ok(Kind::ddl("CREATE TYPE"))
            }
            Node::CreateEnumStmt(create) => {
                let names: Vec<_> =
                    create.type_name().iter().filter_map(|name| name.sval()).collect();
                self.created_name(&names)?;
                Ok(Kind::ddl("CREATE TYPE"))
            }
            Node::AlterEnumStmt(alter) => {
                let names: Vec<_> =
                    alter.type_name().iter().filter_map(|name| name.sval()).collect();
                self.other(Naming::Type, &names, false)?;
                Ok(Kind::ddl("ALTER TYPE"))
            }
            Node::None
            | Node::NodeList(_)
            | plain_expressions!()
            | json_expressions!()
            | pieces!()
            | from_items!()
            | queries!()
            | session_statements!()
            | relation_definitions!()
            | upkeep_statements!()
            | database_definitions!()
            | role_statements!()
            | cluster_statements!()
            | after_analysis!() => unsupported("A definition of this kind is not supported."),
        }
    }

    /// What is done to objects that exist, whatever their kind.
    fn upkeep(&mut self, node: Node<'t>) -> Walked<Kind> {
        match node {
            Node::DropStmt(drop) => self.drop_objects(drop),
            Node::CommentStmt(comment) => {
                self.object(naming(comment.objtype), comment.object(), false)?;
                Ok(Kind::ddl("COMMENT"))
            }
            Node::RenameStmt(rename) => self.rename(rename),
            Node::AlterObjectSchemaStmt(alter) => {
                match alter.relation() {
                    Some(var) => self.changed_relation(var, alter.missing_ok)?,
                    None => {
                        self.object(naming(alter.object_type), alter.object(), alter.missing_ok)?;
                    }
                }
                self.moved_to(alter.newschema().unwrap_or_default())?;
                Ok(Kind::ddl("ALTER"))
            }
            Node::ReindexStmt(reindex) => {
                match (reindex.relation(), reindex.kind) {
                    (Some(var), _) => self.maintained(var)?,
                    (None, ReindexObjectType::REINDEX_OBJECT_SCHEMA) => {
                        self.named_schema(reindex.name().unwrap_or_default(), false)?;
                    }
                    (None, _) => self.needs.admin(Object::Database),
                }
                Ok(Kind::ddl("REINDEX"))
            }
            Node::VacuumStmt(vacuum) => {
                if vacuum.rels().is_empty() {
                    self.needs.admin(Object::Database);
                }
                for relation in vacuum.rels() {
                    self.opt(relation.relation(), Self::maintained)?;
                }
                Ok(Kind::ddl(if vacuum.is_vacuumcmd { "VACUUM" } else { "ANALYZE" }))
            }
            Node::ClusterStmt(cluster) => {
                match cluster.relation() {
                    Some(var) => self.maintained(var)?,
                    None => self.needs.admin(Object::Database),
                }
                Ok(Kind::ddl("CLUSTER"))
            }
            Node::RefreshMatViewStmt(refresh) => {
                self.opt(refresh.relation(), Self::maintained)?;
                Ok(Kind::ddl("REFRESH MATERIALIZED VIEW"))
            }
            Node::None
            | Node::NodeList(_)
            | plain_expressions!()
            | json_expressions!()
            | pieces!()
            | from_items!()
            | queries!()
            | session_statements!()
            | relation_definitions!()
            | type_definitions!()
            | database_definitions!()
            | role_statements!()
            | cluster_statements!()
            | after_analysis!() => unsupported("A definition of this kind is not supported."),
        }
    }

    /// Definitions without a schema, and those whose code would run as whoever uses them: bodies are not
    /// understood here, so that only who may do everything in the database may make them.
    pub(super) fn database_definition(&mut self, node: Node<'t>) -> Walked<Kind> {
        self.resolved = true;
        // A schema for whoever makes it, and nothing in it yet.
        let bare = matches!(node, Node::CreateSchemaStmt(create)
            if create.authrole().is_none() && create.schema_elts().is_empty());
        if bare {
            self.needs.create(Object::Database);
        } else {
            self.needs.admin(Object::Database);
        }
        let secret = |command| Kind { credentials: true, ..Kind::ddl(command) };
        Ok(match node {
            Node::CreateSchemaStmt(create) => {
                if let Some(name) = create.schemaname() {
                    super::walk::refuse_schema(name)?;
                }
                // "$user" or another name of the path may have been waiting for it.
                Kind { changes_path: true, ..Kind::ddl("CREATE SCHEMA") }
            }
            Node::CreateExtensionStmt(_) => {
                Kind { changes_path: true, ..Kind::ddl("CREATE EXTENSION") }
            }
            Node::AlterExtensionStmt(_) => Kind::ddl("ALTER EXTENSION"),
            Node::CreateFdwStmt(_) => secret("CREATE FOREIGN DATA WRAPPER"),
            Node::AlterFdwStmt(_) => secret("ALTER FOREIGN DATA WRAPPER"),
            Node::CreateForeignServerStmt(_) => secret("CREATE SERVER"),
            Node::AlterForeignServerStmt(_) => secret("ALTER SERVER"),
            Node::CreateUserMappingStmt(_) => secret("CREATE USER MAPPING"),
            Node::AlterUserMappingStmt(_) => secret("ALTER USER MAPPING"),
            Node::DropUserMappingStmt(_) => Kind::ddl("DROP USER MAPPING"),
            Node::CreateFunctionStmt(create) if create.is_procedure => {
                Kind::ddl("CREATE PROCEDURE")
            }
            Node::CreateFunctionStmt(_) => Kind::ddl("CREATE FUNCTION"),
            Node::AlterFunctionStmt(_) => Kind::ddl("ALTER FUNCTION"),
            Node::CreateTrigStmt(_) => Kind::ddl("CREATE TRIGGER"),
            Node::RuleStmt(_) => Kind::ddl("CREATE RULE"),
            Node::AlterOwnerStmt(_) => Kind::ddl("ALTER"),
            Node::AlterExtensionContentsStmt(_) => Kind::ddl("ALTER EXTENSION"),
            Node::ImportForeignSchemaStmt(_) => Kind::ddl("IMPORT FOREIGN SCHEMA"),
            Node::CreateAmStmt(_) => Kind::ddl("CREATE ACCESS METHOD"),
            Node::CreateEventTrigStmt(_) => Kind::ddl("CREATE EVENT TRIGGER"),
            Node::AlterEventTrigStmt(_) => Kind::ddl("ALTER EVENT TRIGGER"),
            Node::CreatePLangStmt(_) => Kind::ddl("CREATE LANGUAGE"),
            Node::CreateOpClassStmt(_) => Kind::ddl("CREATE OPERATOR CLASS"),
            Node::CreateOpFamilyStmt(_) => Kind::ddl("CREATE OPERATOR FAMILY"),
            Node::CreateConversionStmt(_) => Kind::ddl("CREATE CONVERSION"),
            Node::CreateCastStmt(_) => Kind::ddl("CREATE CAST"),
            Node::CreateTransformStmt(_) => Kind::ddl("CREATE TRANSFORM"),
            Node::CreatePublicationStmt(_) => Kind::ddl("CREATE PUBLICATION"),
            Node::AlterPublicationStmt(_) => Kind::ddl("ALTER PUBLICATION"),
            Node::DefineStmt(_) | Node::CreateRangeStmt(_) => Kind::ddl("CREATE"),
            Node::AlterOpFamilyStmt(_)
            | Node::AlterObjectDependsStmt(_)
            | Node::AlterOperatorStmt(_)
            | Node::AlterTypeStmt(_)
            | Node::AlterCollationStmt(_)
            | Node::AlterTSDictionaryStmt(_)
            | Node::AlterTSConfigurationStmt(_) => Kind::ddl("ALTER"),
            Node::None
            | Node::NodeList(_)
            | plain_expressions!()
            | json_expressions!()
            | pieces!()
            | from_items!()
            | queries!()
            | session_statements!()
            | schema_definitions!()
            | role_statements!()
            | cluster_statements!()
            | after_analysis!() => {
                return unsupported("A statement of this kind is not supported.");
            }
        })
    }

    /// Statements about roles and privileges.
    pub(super) fn role(&mut self, node: Node<'t>) -> Walked<Kind> {
        self.resolved = true;
        self.needs.admin(Object::Database);
        Ok(match node {
            Node::GrantStmt(grant) if grant.is_grant => Kind::role("GRANT"),
            Node::GrantStmt(_) => Kind::role("REVOKE"),
            Node::GrantRoleStmt(grant) if grant.is_grant => Kind::role("GRANT ROLE"),
            Node::GrantRoleStmt(_) => Kind::role("REVOKE ROLE"),
            Node::AlterDefaultPrivilegesStmt(_) => Kind::role("ALTER DEFAULT PRIVILEGES"),
            Node::CreateRoleStmt(_) => Kind { credentials: true, ..Kind::role("CREATE ROLE") },
            Node::AlterRoleStmt(alter) => {
                refuse_password(alter)?;
                Kind { credentials: true, ..Kind::role("ALTER ROLE") }
            }
            Node::AlterRoleSetStmt(_) => Kind::role("ALTER ROLE"),
            Node::DropRoleStmt(_) => Kind::role("DROP ROLE"),
            Node::DropOwnedStmt(_) => Kind::role("DROP OWNED"),
            Node::ReassignOwnedStmt(_) => Kind::role("REASSIGN OWNED"),
            Node::SecLabelStmt(_) => Kind::role("SECURITY LABEL"),
            Node::None
            | Node::NodeList(_)
            | plain_expressions!()
            | json_expressions!()
            | pieces!()
            | from_items!()
            | queries!()
            | session_statements!()
            | schema_definitions!()
            | database_definitions!()
            | cluster_statements!()
            | after_analysis!() => {
                return unsupported("A statement of this kind is not supported.");
            }
        })
    }

    fn object_words(&mut self, naming: Naming, list: &'t NodeList) -> Walked {
        self.object(naming, Node::NodeList(list), false)
    }

    fn create_table(&mut self, create: &'t CreateStmt) -> Walked<Kind> {
        let Some(var) = create.relation() else { return unsupported("A table has no name.") };
        self.created(var)?;
        let name = var.relname().unwrap_or_default();
        for parent in create.inh_relations() {
            if let Node::RangeVar(parent) = parent {
                self.changed_relation(parent, false)?;
            }
        }
        self.opt(create.of_typename(), Self::type_name)?;
        self.tablespace(create.tablespacename());
        self.in_definition(name, |walk| {
            for element in create.table_elts() {
                walk.definition_node(element)?;
            }
            for constraint in create.constraints() {
                walk.constraint(constraint)?;
            }
            walk.definition_node(create.partbound().into())?;
            for column in create.partspec().iter().flat_map(|spec| spec.part_params()) {
                walk.part(column.expr())?;
            }
            Ok(())
        })?;
        self.check_deferred()?;
        Ok(Kind::ddl("CREATE TABLE"))
    }

    fn alter_table(&mut self, alter: &'t AlterTableStmt) -> Walked<Kind> {
        let Some(var) = alter.relation() else { return unsupported("ALTER names no relation.") };
        let target = self.altered(var, alter.missing_ok)?;
        let name = var.relname().unwrap_or_default();
        let (mut reaches, mut makes) = (false, false);
        for command in alter.cmds() {
            let Node::AlterTableCmd(command) = command else {
                return unsupported("ALTER TABLE holds something without a rule.");
            };
            reaches |= reaches_children(command);
            makes |= makes_relation(command.def());
            self.in_definition(name, |walk| walk.alter_command(command))?;
        }
        if reaches {
            self.altered_with_children(var, alter.missing_ok)?;
        }
        if let Some(target) = target.filter(|_| makes) {
            self.create_indexes(target, var)?;
        }
        self.check_deferred()?;
        Ok(Kind::ddl("ALTER TABLE"))
    }

    fn alter_command(&mut self, command: &'t AlterTableCmd) -> Walked {
        if command.newowner().is_some() || command.behavior == DropBehavior::DROP_CASCADE {
            // Another owner is a matter of roles; CASCADE reaches into other schemas.
            self.needs.admin(Object::Database);
        }
        if command.subtype == AlterTableType::AT_SetTableSpace {
            self.tablespace(command.name());
        }
        self.definition_node(command.def())
    }

    /// New indexes or sequences beside a table, and indexes beside all that inherits from it.
    fn create_indexes(&mut self, target: Target<'t>, var: &'t RangeVar) -> Walked {
        self.create_in(target.schema);
        for child in self.children(target, var)? {
            self.create_in(child.schema);
        }
        Ok(())
    }

    fn create_index(&mut self, index: &'t IndexStmt) -> Walked<Kind> {
        let Some(var) = index.relation() else { return unsupported("An index has no table.") };
        if let Some(target) = self.altered(var, false)? {
            self.create_indexes(target, var)?;
        }
        self.tablespace(index.table_space());
        self.in_definition(var.relname().unwrap_or_default(), |walk| {
            for element in index.index_params() {
                walk.index_element(element)?;
            }
            walk.part(index.where_clause())
        })?;
        self.check_deferred()?;
        Ok(Kind::ddl("CREATE INDEX"))
    }

    fn create_view(&mut self, view: &'t ViewStmt) -> Walked<Kind> {
        let Some(var) = view.view() else { return unsupported("A view has no name.") };
        if self.is_temporary(var) {
            return refuse_temporary();
        }
        let schema = self.creation(var)?;
        if view.replace
            && let Some(target) = self.find(schema, var.relname().unwrap_or_default())?
        {
            self.owned(target);
        }
        // Whoever reads the view reads as its owner, the service account: so its maker must hold all of it.
        self.optimizable(view.query())?;
        if self.reads_temporary {
            // The server makes it a temporary one, too.
            return refuse_temporary();
        }
        Ok(Kind::ddl("CREATE VIEW"))
    }

    fn policy(&mut self, table: Option<&'t RangeVar>, checks: [Node<'t>; 2]) -> Walked {
        let Some(table) = table else { return unsupported("A policy has no table.") };
        self.changed_relation(table, false)?;
        if self.temporary {
            return refuse_temporary();
        }
        self.in_definition(table.relname().unwrap_or_default(), |walk| {
            checks.into_iter().try_for_each(|check| walk.part(check))
        })
    }

    fn drop_objects(&mut self, drop: &'t DropStmt) -> Walked<Kind> {
        self.resolved = true;
        let naming = naming(drop.remove_type);
        for object in drop.objects() {
            let dropped = self.object(naming, object, drop.missing_ok);
            dropped.map_err(|why| dropping(drop.remove_type, object, why))?;
        }
        if drop.behavior == DropBehavior::DROP_CASCADE {
            // What depends on the object may be in any schema.
            self.needs.admin(Object::Database);
        }
        let schemas = drop.remove_type == ObjectType::OBJECT_SCHEMA;
        Ok(Kind { changes_path: schemas, ..Kind::ddl("DROP") })
    }

    fn rename(&mut self, rename: &'t RenameStmt) -> Walked<Kind> {
        self.resolved = true;
        let kind = Kind::ddl("ALTER");
        match rename.rename_type {
            ObjectType::OBJECT_DATABASE | ObjectType::OBJECT_TABLESPACE => {
                return unsupported("Databases and tablespaces are not renamed here.");
            }
            ObjectType::OBJECT_ROLE => {
                self.needs.admin(Object::Database);
                return Ok(Kind::role("ALTER ROLE"));
            }
            ObjectType::OBJECT_SCHEMA => {
                self.needs.admin(Object::Database);
                return Ok(Kind { changes_path: true, ..kind });
            }
            _ => {}
        }
        match rename.relation() {
            Some(var) if naming(rename.rename_type) == Naming::Relation => {
                // A new name in the schema is made there.
                if let Some(target) = self.altered(var, rename.missing_ok)? {
                    self.create_in(target.schema);
                }
            }
            Some(var) => self.altered_with_children(var, rename.missing_ok).map(drop)?,
            None => self.object(naming(rename.rename_type), rename.object(), rename.missing_ok)?,
        }
        Ok(kind)
    }
}

/// DROP says of a relation what kind it looked for, and not in which schema.
fn dropping(kind: ObjectType::Type, object: Node<'_>, why: NotUnderstood) -> NotUnderstood {
    let (word, state) = match kind {
        ObjectType::OBJECT_TABLE => ("table", "42P01"),
        ObjectType::OBJECT_VIEW => ("view", "42P01"),
        ObjectType::OBJECT_SEQUENCE => ("sequence", "42P01"),
        ObjectType::OBJECT_MATVIEW => ("materialized view", "42P01"),
        ObjectType::OBJECT_FOREIGN_TABLE => ("foreign table", "42P01"),
        ObjectType::OBJECT_INDEX => ("index", "42704"),
        _ => return why,
    };
    let name = object.as_node_list().and_then(|list| words(list).last().copied());
    match (why, name) {
        (NotUnderstood::Undefined { sqlstate: "42P01", position, .. }, Some(name)) => {
            let message = format!("{word} \"{name}\" does not exist");
            NotUnderstood::Undefined { sqlstate: state, message, position }
        }
        (why, _) => why,
    }
}

/// Whether ALTER TABLE does that to what inherits from the table, too.
const fn reaches_children(command: &AlterTableCmd) -> bool {
    use AlterTableType as Type;
    !matches!(
        command.subtype,
        Type::AT_ChangeOwner
            | Type::AT_SetLogged
            | Type::AT_SetUnLogged
            | Type::AT_SetTableSpace
            | Type::AT_SetRelOptions
            | Type::AT_ResetRelOptions
            | Type::AT_AddInherit
            | Type::AT_DropInherit
            | Type::AT_ReplicaIdentity
            | Type::AT_EnableRowSecurity
            | Type::AT_DisableRowSecurity
            | Type::AT_ForceRowSecurity
            | Type::AT_NoForceRowSecurity
            | Type::AT_AttachPartition
            | Type::AT_DetachPartition
            | Type::AT_DetachPartitionFinalize
    )
}

/// Whether a part of ALTER TABLE makes an index or a sequence.
fn makes_relation(node: Node<'_>) -> bool {
    match node {
        Node::Constraint(constraint) => match constraint.contype {
            ConstrType::CONSTR_PRIMARY
            | ConstrType::CONSTR_UNIQUE
            | ConstrType::CONSTR_EXCLUSION => constraint.indexname().is_none(),
            ConstrType::CONSTR_IDENTITY => true,
            _ => false,
        },
        Node::ColumnDef(column) => {
            is_serial(column) || column.constraints().iter().any(makes_relation)
        }
        _ => false,
    }
}

/// `\password` of psql sends this.
fn refuse_password(alter: &AlterRoleStmt) -> Walked {
    let password = |option: &DefElem| {
        option.defname().is_some_and(|name| name.to_ascii_lowercase().contains("password"))
    };
    if alter.options().iter().any(password) {
        return unsupported_hint(
            "Passwords are not used here: sessions log in with tokens.",
            "daypass token issue --user <name> makes one.",
        );
    }
    Ok(())
}
