//! The grammar's node kinds in four groups, so that each walk can name every kind without a wildcard.
//!
//! A walk matches the kinds that it understands one by one and lists the other groups by these
//! patterns. When a new grammar brings a new kind, every walk stops compiling until the kind has a
//! place: in a group here, or in an arm there.

/// Kinds that only the server's own analysis makes: never in a tree that comes from the parser.
macro_rules! after_analysis {
    () => {
        Node::Bitmapset(_)
            | Node::TableFunc(_)
            | Node::Param(_)
            | Node::Aggref(_)
            | Node::WindowFunc(_)
            | Node::WindowFuncRunCondition(_)
            | Node::SubscriptingRef(_)
            | Node::FuncExpr(_)
            | Node::OpExpr(_)
            | Node::ScalarArrayOpExpr(_)
            | Node::SubPlan(_)
            | Node::AlternativeSubPlan(_)
            | Node::FieldSelect(_)
            | Node::FieldStore(_)
            | Node::CoerceViaIO(_)
            | Node::ArrayCoerceExpr(_)
            | Node::ConvertRowtypeExpr(_)
            | Node::CollateExpr(_)
            | Node::CaseTestExpr(_)
            | Node::ArrayExpr(_)
            | Node::RowCompareExpr(_)
            | Node::JsonConstructorExpr(_)
            | Node::JsonExpr(_)
            | Node::MergeAction(_)
            | Node::CoerceToDomain(_)
            | Node::CoerceToDomainValue(_)
            | Node::NextValueExpr(_)
            | Node::InferenceElem(_)
            | Node::ReturningExpr(_)
            | Node::TargetEntry(_)
            | Node::RangeTblRef(_)
            | Node::FromExpr(_)
            | Node::OnConflictExpr(_)
            | Node::Query(_)
            | Node::RangeTblEntry(_)
            | Node::RTEPermissionInfo(_)
            | Node::RangeTblFunction(_)
            | Node::TableSampleClause(_)
            | Node::WithCheckOption(_)
            | Node::SortGroupClause(_)
            | Node::WindowClause(_)
            | Node::RowMarkClause(_)
            | Node::SetOperationStmt(_)
            | Node::InlineCodeBlock(_)
            | Node::CallContext(_)
            | Node::ReturnStmt(_)
            | Node::PLAssignStmt(_)
            | Node::Invalid(_)
    };
}

/// Pieces that the walk reads through the node that owns them, never as an expression or statement.
macro_rules! pieces {
    () => {
        Node::Alias(_)
            | Node::IntoClause(_)
            | Node::JsonFormat(_)
            | Node::JsonReturning(_)
            | Node::Integer(_)
            | Node::Float(_)
            | Node::Boolean(_)
            | Node::String(_)
            | Node::BitString(_)
            | Node::TypeName(_)
            | Node::RoleSpec(_)
            | Node::A_Star(_)
            | Node::A_Indices(_)
            | Node::WindowDef(_)
            | Node::RangeTableFuncCol(_)
            | Node::ColumnDef(_)
            | Node::TableLikeClause(_)
            | Node::IndexElem(_)
            | Node::DefElem(_)
            | Node::LockingClause(_)
            | Node::PartitionElem(_)
            | Node::PartitionSpec(_)
            | Node::PartitionBoundSpec(_)
            | Node::PartitionRangeDatum(_)
            | Node::PartitionCmd(_)
            | Node::WithClause(_)
            | Node::InferClause(_)
            | Node::OnConflictClause(_)
            | Node::CTESearchClause(_)
            | Node::CTECycleClause(_)
            | Node::CommonTableExpr(_)
            | Node::MergeWhenClause(_)
            | Node::ReturningOption(_)
            | Node::ReturningClause(_)
            | Node::TriggerTransition(_)
            | Node::JsonOutput(_)
            | Node::JsonTableColumn(_)
            | Node::JsonTablePathSpec(_)
            | Node::RawStmt(_)
            | Node::AlterTableCmd(_)
            | Node::ATAlterConstraint(_)
            | Node::ReplicaIdentityStmt(_)
            | Node::ObjectWithArgs(_)
            | Node::AccessPriv(_)
            | Node::Constraint(_)
            | Node::CreateOpClassItem(_)
            | Node::StatsElem(_)
            | Node::FunctionParameter(_)
            | Node::VacuumRelation(_)
            | Node::PublicationTable(_)
            | Node::PublicationObjSpec(_)
    };
}

/// Items of a FROM list.
macro_rules! from_items {
    () => {
        Node::RangeVar(_)
            | Node::JoinExpr(_)
            | Node::RangeSubselect(_)
            | Node::RangeFunction(_)
            | Node::RangeTableFunc(_)
            | Node::RangeTableSample(_)
            | Node::JsonTable(_)
    };
}

/// Expressions other than JSON's.
macro_rules! plain_expressions {
    () => {
        Node::GroupingFunc(_)
            | Node::MergeSupportFunc(_)
            | Node::NamedArgExpr(_)
            | Node::BoolExpr(_)
            | Node::SubLink(_)
            | Node::CaseExpr(_)
            | Node::CaseWhen(_)
            | Node::RowExpr(_)
            | Node::CoalesceExpr(_)
            | Node::MinMaxExpr(_)
            | Node::SQLValueFunction(_)
            | Node::XmlExpr(_)
            | Node::NullTest(_)
            | Node::BooleanTest(_)
            | Node::SetToDefault(_)
            | Node::CurrentOfExpr(_)
            | Node::ColumnRef(_)
            | Node::ParamRef(_)
            | Node::A_Expr(_)
            | Node::A_Const(_)
            | Node::TypeCast(_)
            | Node::CollateClause(_)
            | Node::FuncCall(_)
            | Node::A_Indirection(_)
            | Node::A_ArrayExpr(_)
            | Node::ResTarget(_)
            | Node::MultiAssignRef(_)
            | Node::SortBy(_)
            | Node::XmlSerialize(_)
            | Node::GroupingSet(_)
    };
}

/// SQL/JSON expressions.
macro_rules! json_expressions {
    () => {
        Node::JsonValueExpr(_)
            | Node::JsonIsPredicate(_)
            | Node::JsonBehavior(_)
            | Node::JsonArgument(_)
            | Node::JsonFuncExpr(_)
            | Node::JsonKeyValue(_)
            | Node::JsonParseExpr(_)
            | Node::JsonScalarExpr(_)
            | Node::JsonSerializeExpr(_)
            | Node::JsonObjectConstructor(_)
            | Node::JsonArrayConstructor(_)
            | Node::JsonArrayQueryConstructor(_)
            | Node::JsonAggConstructor(_)
            | Node::JsonObjectAgg(_)
            | Node::JsonArrayAgg(_)
    };
}

/// Queries and statements that change rows.
macro_rules! queries {
    () => {
        Node::SelectStmt(_)
            | Node::InsertStmt(_)
            | Node::UpdateStmt(_)
            | Node::DeleteStmt(_)
            | Node::MergeStmt(_)
    };
}

/// Statements about the session: transactions, settings, cursors, prepared statements …
macro_rules! session_statements {
    () => {
        Node::TransactionStmt(_)
            | Node::VariableSetStmt(_)
            | Node::VariableShowStmt(_)
            | Node::PrepareStmt(_)
            | Node::ExecuteStmt(_)
            | Node::DeallocateStmt(_)
            | Node::DeclareCursorStmt(_)
            | Node::FetchStmt(_)
            | Node::ClosePortalStmt(_)
            | Node::DiscardStmt(_)
            | Node::ListenStmt(_)
            | Node::UnlistenStmt(_)
            | Node::NotifyStmt(_)
            | Node::ConstraintsSetStmt(_)
            | Node::ExplainStmt(_)
            | Node::CopyStmt(_)
            | Node::TruncateStmt(_)
            | Node::LockStmt(_)
            | Node::CallStmt(_)
            | Node::DoStmt(_)
            | Node::CreateTableAsStmt(_)
    };
}

/// Definitions of relations and what hangs on them.
macro_rules! relation_definitions {
    () => {
        Node::CreateStmt(_)
            | Node::AlterTableStmt(_)
            | Node::IndexStmt(_)
            | Node::ViewStmt(_)
            | Node::CreateSeqStmt(_)
            | Node::AlterSeqStmt(_)
            | Node::CreateStatsStmt(_)
            | Node::AlterStatsStmt(_)
            | Node::CreatePolicyStmt(_)
            | Node::AlterPolicyStmt(_)
    };
}

/// Definitions of types and domains.
macro_rules! type_definitions {
    () => {
        Node::CreateDomainStmt(_)
            | Node::AlterDomainStmt(_)
            | Node::CompositeTypeStmt(_)
            | Node::CreateEnumStmt(_)
            | Node::AlterEnumStmt(_)
    };
}

/// What is done to objects that exist, whatever their kind.
macro_rules! upkeep_statements {
    () => {
        Node::DropStmt(_)
            | Node::CommentStmt(_)
            | Node::RenameStmt(_)
            | Node::AlterObjectSchemaStmt(_)
            | Node::ReindexStmt(_)
            | Node::VacuumStmt(_)
            | Node::ClusterStmt(_)
            | Node::RefreshMatViewStmt(_)
    };
}

/// Definitions that live in a schema: the three groups above.
macro_rules! schema_definitions {
    () => {
        $crate::sql::postgres::nodes::relation_definitions!()
            | $crate::sql::postgres::nodes::type_definitions!()
            | $crate::sql::postgres::nodes::upkeep_statements!()
    };
}

/// Definitions that belong to the database as a whole, or that bring code to run.
macro_rules! database_definitions {
    () => {
        Node::CreateSchemaStmt(_)
            | Node::CreateExtensionStmt(_)
            | Node::AlterExtensionStmt(_)
            | Node::AlterExtensionContentsStmt(_)
            | Node::CreateFdwStmt(_)
            | Node::AlterFdwStmt(_)
            | Node::CreateForeignServerStmt(_)
            | Node::AlterForeignServerStmt(_)
            | Node::CreateUserMappingStmt(_)
            | Node::AlterUserMappingStmt(_)
            | Node::DropUserMappingStmt(_)
            | Node::ImportForeignSchemaStmt(_)
            | Node::CreateAmStmt(_)
            | Node::CreateTrigStmt(_)
            | Node::CreateEventTrigStmt(_)
            | Node::AlterEventTrigStmt(_)
            | Node::CreatePLangStmt(_)
            | Node::DefineStmt(_)
            | Node::CreateOpClassStmt(_)
            | Node::CreateOpFamilyStmt(_)
            | Node::AlterOpFamilyStmt(_)
            | Node::CreateFunctionStmt(_)
            | Node::AlterFunctionStmt(_)
            | Node::AlterObjectDependsStmt(_)
            | Node::AlterOwnerStmt(_)
            | Node::AlterOperatorStmt(_)
            | Node::AlterTypeStmt(_)
            | Node::RuleStmt(_)
            | Node::CreateRangeStmt(_)
            | Node::AlterCollationStmt(_)
            | Node::CreateConversionStmt(_)
            | Node::CreateCastStmt(_)
            | Node::CreateTransformStmt(_)
            | Node::AlterTSDictionaryStmt(_)
            | Node::AlterTSConfigurationStmt(_)
            | Node::CreatePublicationStmt(_)
            | Node::AlterPublicationStmt(_)
    };
}

/// Statements about roles and privileges.
macro_rules! role_statements {
    () => {
        Node::GrantStmt(_)
            | Node::GrantRoleStmt(_)
            | Node::AlterDefaultPrivilegesStmt(_)
            | Node::CreateRoleStmt(_)
            | Node::AlterRoleStmt(_)
            | Node::AlterRoleSetStmt(_)
            | Node::DropRoleStmt(_)
            | Node::DropOwnedStmt(_)
            | Node::ReassignOwnedStmt(_)
            | Node::SecLabelStmt(_)
    };
}

/// Statements that reach beyond the database: refused for everyone.
macro_rules! cluster_statements {
    () => {
        Node::CreateTableSpaceStmt(_)
            | Node::DropTableSpaceStmt(_)
            | Node::AlterTableSpaceOptionsStmt(_)
            | Node::AlterTableMoveAllStmt(_)
            | Node::LoadStmt(_)
            | Node::CreatedbStmt(_)
            | Node::AlterDatabaseStmt(_)
            | Node::AlterDatabaseRefreshCollStmt(_)
            | Node::AlterDatabaseSetStmt(_)
            | Node::DropdbStmt(_)
            | Node::AlterSystemStmt(_)
            | Node::CheckPointStmt(_)
            | Node::CreateSubscriptionStmt(_)
            | Node::AlterSubscriptionStmt(_)
            | Node::DropSubscriptionStmt(_)
    };
}

pub(super) use {
    after_analysis, cluster_statements, database_definitions, from_items, json_expressions, pieces,
    plain_expressions, queries, relation_definitions, role_statements, schema_definitions,
    session_statements, type_definitions, upkeep_statements,
};
