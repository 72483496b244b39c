-- Tells the nodes what changed, whoever changed it. The channel is the schema's own: several installations may share a
-- database. A notification goes out when its transaction commits, and not at all when it does not.
CREATE FUNCTION menshen_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Not in one expression: what a row has no column for must not be planned.
    IF TG_TABLE_NAME = 'tickets' THEN
        PERFORM pg_notify('menshen_' || md5(TG_TABLE_SCHEMA), 'ticket ' || NEW.id);
    ELSE
        PERFORM pg_notify('menshen_' || md5(TG_TABLE_SCHEMA), TG_TABLE_NAME);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER tickets_tell AFTER INSERT OR UPDATE ON tickets FOR EACH ROW EXECUTE FUNCTION menshen_tell();
CREATE TRIGGER revocations_tell AFTER INSERT ON revocations FOR EACH ROW EXECUTE FUNCTION menshen_tell();
CREATE TRIGGER keys_tell AFTER INSERT OR UPDATE ON keys FOR EACH ROW EXECUTE FUNCTION menshen_tell();
