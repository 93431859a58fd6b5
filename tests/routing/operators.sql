-- On top of traces.sql: an operator and a cast that leave a trace. A body may use either without a word.
create function note_int(int, int) returns bool language sql as 'select note(''o'') = 1';
create operator ### (leftarg = int, rightarg = int, function = note_int);
create function mood_text(mood) returns json language sql as 'select to_json(note(''c''))';
create cast (mood as json) with function mood_text(mood);
create view operated as select a from t1 where a ### b;
grant all on operated to probe;
