"""What a checker of English needs to know of words: their forms, parts of speech, sounds, and how usual they are together."""
