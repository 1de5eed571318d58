-- Added ahead of the release that reads it, so that the release before it never notices.
ALTER TABLE user_follow ADD COLUMN notification_level VARCHAR(20) DEFAULT 'all';
