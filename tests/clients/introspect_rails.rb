# What Active Record (Rails) sees of the database that libpq's variables name: a line a fact, or an error in
# its place.

require "active_record"
require "stringio"

# Log in as any application does; then everything that the adapter can be asked for, and the dump of the schema.
ActiveRecord::Base.establish_connection(
  adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"], username: ENV["PGUSER"],
  password: ENV["PGPASSWORD"], database: ENV["PGDATABASE"]
)

def tell(name)
  Array(yield).each { |fact| puts "#{name}: #{fact.to_s.gsub(/:0x\h+/, "")}" }
rescue ActiveRecord::StatementInvalid => error
  puts "#{name}: REFUSED #{error.message.lines.first}"
end

connection = ActiveRecord::Base.connection
tell("version") { connection.database_version }
%i[tables views data_sources extensions schema_names collation ctype encoding schema_search_path
   current_schema client_min_messages max_identifier_length].each do |kind|
  tell(kind) { connection.public_send(kind) }
end
tell("enum types") { connection.respond_to?(:enum_types) ? connection.enum_types.map(&:inspect) : [] }
tell("exists") { ["other.secrets", "items", "no"].map { |name| connection.data_source_exists?(name) } }
(connection.data_sources + ["other.secrets"]).each do |table|
  %i[columns indexes foreign_keys check_constraints].each do |kind|
    tell("#{table} #{kind}") do
      connection.public_send(kind, table).map do |found|
        found.instance_variables.map { |name| [name, found.instance_variable_get(name)] }
             .map { |name, value| "#{name}=#{value.respond_to?(:to_h) ? value.to_h : value.to_s}" }
             .join(" ")
      end
    end
  end
  tell("#{table} primary keys") { connection.primary_keys(table) }
  tell("#{table} comment") { connection.table_comment(table) }
  tell("#{table} options") { connection.table_options(table).inspect }
  tell("#{table} sequence") { connection.pk_and_sequence_for(table).inspect }
end
tell("advisory locks") { connection.supports_advisory_locks? }
tell("migrated") { ActiveRecord::SchemaMigration.table_exists? }
tell("dump") do
  output = StringIO.new
  ActiveRecord::SchemaDumper.dump(connection, output)
  output.string.lines.map(&:chomp)
end
class Item < ActiveRecord::Base; end
tell("rows") { Item.all.map { |item| item.attributes.inspect } }
