ALTER TABLE user_follow DROP COLUMN notification_level;
