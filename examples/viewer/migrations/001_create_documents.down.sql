DROP TABLE user_follow;
DROP TABLE comment;
DROP TABLE document;
DROP TABLE user;
