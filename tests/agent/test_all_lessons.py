"""Every conversation as learners meet it: walked to its end, left and found again, and fair to right English."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from agent.lessons import Conversation, load_common, load_lessons
from agent.lessons.course import Beat, ConversationCourse
from agent.lessons.heard import Heard, normal
from agent.lessons.listen import fill, understand
from agent.lessons.schema import MAX_SENTENCE_WORDS, Mistake, Question
from agent.record import LEVELS, Level
from agent.scripted import ScriptedTutor
from agent.tutor import Message, TutorReply

LESSONS = [lesson for lesson in load_lessons().values() if isinstance(lesson, Conversation)]
MAX_TURNS = 40
OFF_SCRIPT = ("my dog is very big and likes cheese", "", "blah")

every_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.id)
every_level = pytest.mark.parametrize("level", LEVELS)


def questions(lesson: Conversation) -> Iterator[tuple[int, Question]]:
    for number, step in enumerate(lesson.steps):
        yield number, step
        yield from ((number, reply.follow_up) for reply in step.replies if reply.follow_up is not None)


def open_question(lesson: Conversation, beat: Beat) -> Question:
    return beat.follow_up or lesson.steps[beat.step]


def talk(
    lesson: Conversation, level: Level, say: Callable[[Question], str], turns: int
) -> Iterator[tuple[str, TutorReply, Beat]]:
    """A call, from the greeting to the end: the learner's words, the tutor's reply, and where the lesson stands then.

    ``say`` gives the learner's words to a question; too many turns fail the test.
    """
    tutor, course = ScriptedTutor(), ConversationCourse(lesson, load_common())
    messages: list[Message] = []
    beat, words = course.start(), ""
    for _ in range(turns):
        reply = tutor.respond(messages, lesson=lesson.id, level=level)
        assert reply.done == beat.done
        yield words, reply, beat
        if beat.done:
            return
        words = say(open_question(lesson, beat))
        messages += [{"role": "assistant", "content": reply.text}, {"role": "user", "content": words}]
        beat = course.after(beat, words)
    pytest.fail(f"{lesson.id} is not over after {turns} turns; last: {reply.text}")


@every_lesson
def test_a_lesson_has_enough_to_talk_about_at_three_levels(lesson: Conversation) -> None:
    assert len(lesson.steps) >= 6
    recast = [m for _, q in questions(lesson) for reply in q.replies for m in reply.errors if m.recast is not None]
    assert len(recast) >= 8
    for step in lesson.steps:
        worded = [step.ask[level] for level in LEVELS]
        assert len(set(worded)) == len(LEVELS), step.id


@every_lesson
@every_level
@pytest.mark.parametrize("answers", ["model", "last expected"])
def test_a_lesson_is_walked_from_greeting_to_closing(lesson: Conversation, level: Level, answers: str) -> None:
    def say(question: Question) -> str:
        return question.model[level][0] if answers == "model" else question.expected(level)[-1]

    turns = list(talk(lesson, level, say, MAX_TURNS))
    for words, reply, _ in turns:
        assert not reply.corrections, (words, reply.corrections)
        assert reply.done or reply.suggestions
    assert all(one[1].text != after[1].text for one, after in pairwise(turns))
    _, last, beat = turns[-1]
    closings = [fill(line, beat.slots, lesson.values) for line in lesson.closing[level]]
    assert any(last.text.endswith(closing) for closing in closings if closing)


@every_lesson
@every_level
def test_the_tutor_keeps_to_the_length_of_sentence_of_the_level(lesson: Conversation, level: Level) -> None:
    def say(question: Question) -> str:
        return max(question.expected(level), key=lambda sentence: len(sentence.split()))

    for words, reply, _ in talk(lesson, level, say, MAX_TURNS):
        for sentence in re.split(r"(?<=[.!?:])\s+", reply.text):
            assert len(sentence.split()) <= MAX_SENTENCE_WORDS[level], (words, sentence)


@every_lesson
@every_level
@pytest.mark.parametrize("noise", OFF_SCRIPT)
def test_off_script_speech_comes_back_to_the_question(lesson: Conversation, level: Level, noise: str) -> None:
    strayed: list[Question] = []

    def say(question: Question) -> str:
        if question in strayed:
            return question.model[level][0]
        strayed.append(question)
        return noise

    said = ""
    asked: Question = lesson.steps[0]
    for words, reply, beat in talk(lesson, level, say, 2 * MAX_TURNS):
        assert reply.text != said
        # A single word may be a name, and enough words are an answer where the lesson says so; else the question stays open.
        taken = understand(noise, asked, 0, lesson, load_common()).kind == "answer"
        if words == noise and said and not taken:
            assert not beat.done
            assert open_question(lesson, beat) is asked
        said, asked = reply.text, open_question(lesson, beat)
    assert len(strayed) >= len(lesson.steps)


@every_lesson
@pytest.mark.parametrize("noise", OFF_SCRIPT)
def test_nothing_but_off_script_speech_still_meets_every_question(lesson: Conversation, noise: str) -> None:
    met = [beat.step for _, _, beat in talk(lesson, "beginner", lambda question: noise, 4 * len(lesson.steps))]
    assert list(dict.fromkeys(met)) == list(range(len(lesson.steps)))


@pytest.mark.parametrize(
    ("lesson_id", "step_id", "said", "back"),
    [
        ("past_weekend", "where", "I visited my parents", "your parents"),
        ("past_weekend", "where", "I meeted my wife and my son", "your wife"),
        ("directions", "lost", "I look my phone", "your phone"),
        ("introductions", "free_time", "I like riding my bike", "riding your bike"),
    ],
)
def test_the_tutor_takes_up_the_learners_words_as_a_partner(lesson_id: str, step_id: str, said: str, back: str) -> None:
    lesson = load_lessons()[lesson_id]
    assert isinstance(lesson, Conversation)
    course = ConversationCourse(lesson, load_common())
    step = next(number for number, step in enumerate(lesson.steps) if step.id == step_id)
    beat = course.after(replace(course.start(), step=step), said)
    reply = course.say(beat, "beginner", 0)
    assert back in reply.text.casefold()
    # A correction is the learner's own sentence.
    assert all("your" not in correction.correction for correction in reply.corrections)


# Right English, of the kind that is said in these lessons or sounds like their mistakes. None of it may be corrected anywhere.
RIGHT = {
    "any": """
        I will have been there for three hours by then.
        She made me go to the doctor.
        What I bought was a coat.
        Did you go to the park yesterday?
        I used to go to school by bus.
        I didn't go because it rained.
        It took me an hour to get home.
        Did I go too far?
        How many hours I will work is not clear yet.
        I am responsible for the team.
        I have twenty years of experience.
        Those who did not had to leave.
        My brother said that he would come.
        I don't think that I agree.
        Let me think about it for a moment.
        I was born in a small town and grew up there.
        I have never been to the United States.
        People say that it is beautiful.
        The peoples of Africa speak many languages.
        We need more better paid jobs.
    """,
    "introductions": """
        I work as a nurse, and I like my job.
        I have been learning English for two years.
        I like to read, but I don't have much time.
        Both of my sisters live in Berlin.
        My name is Anna, but people call me Annie.
        I am living in London at the moment.
        Am I going to sleep well tonight?
        May I come in now?
        I am coming from work.
        I am of Spanish descent.
        The train took me from Berlin to Rome.
        The city where I live, Berlin, is big.
        I live at home with my parents.
        I live on Paris Street.
        I am student body president.
        I am manager of a small team.
        My job is teacher training.
        I work like a dog.
        Why do I not work?
        Is my favorite food pizza?
        I very much like the pizza here.
        I like fish, and I like travel.
        I am like chocolate to my children.
        Did I learn English for two years for nothing?
        Am I studying English, or am I talking?
        I want travel insurance.
        I have three years of experience.
        Is my name written on it?
    """,
    "ordering_food": """
        I'd like a coffee, please.
        I would like a table for two by the window.
        We have a reservation for eight people.
        I have reservations about the fish.
        Could I have a glass of water?
        Can you fill a glass with water for me?
        I'd like a glass water bottle.
        I want drinking water, not juice.
        I would like a hamburger with fries.
        I would like hamburger buns, please.
        We'd like two coffees and an orange juice.
        I'll have two beer glasses.
        I'd prefer more rice.
        I prefer rice to potatoes.
        I like fish more than meat.
        I'm allergic to nuts, but I can eat eggs.
        Why do I not eat meat?
        Does it taste good?
        She tastes well-made wines for a living.
        It's much too salty for me.
        There is too much hot sauce on it.
        I like this soup very much.
        I'd like a piece of cake and an espresso.
        I have hungry children at home.
        Tell me how much it costs, please.
        How much is the steak?
        Could we get the bill, please?
        I like the steak, and my wife likes the fish.
        What do you recommend?
        I want to pay by card.
        What do I want? An egg, I think.
        I would like some bread, please.
    """,
    "directions": """
        Can you tell me where the station is?
        Where the museum is, I have no idea.
        How I get to work depends on the weather.
        I can show you how to get to the bank.
        I want to go to the beach by bus.
        Do you know the way to the park?
        People there have a bank and a school.
        Does it have a supermarket?
        If not, there is a bank.
        There isn't a pharmacy in my street.
        There are many shops and there is a park.
        There is school in the morning.
        I'll take the bus to the city center.
        I'll take bus number five.
        We take train journeys every summer.
        I go by the bank every day.
        I have no money left in the bank.
        You must turn left at the bank.
        Do what you can to stop him.
        You did all that you could to go there.
        You should go straight ahead for ten minutes.
        Does it take ten minutes?
        It takes me half an hour by car.
        It's a ten minute walk from here.
        It's next to the church, opposite the bank.
        The opposite of the old town is the new town.
        Who am I asking? People in the street.
        I look at the map on my phone.
        When I look, my phone is never there.
        I recommend visiting the castle.
        It is worth seeing.
        Florida has the most old people.
        It was so funny that I was lost for words.
        What is it on the left side?
        That's where you go to, right?
        Where is park life more pleasant?
        I want to go to school.
    """,
    "daily_routine": """
        I usually get up at seven o'clock.
        When I get up, the house is quiet.
        Am I getting up too early?
        Where I am, work is hard to find.
        I never eat breakfast during the week.
        Sometimes I eat bread and sometimes I eat eggs.
        Why do I not eat breakfast?
        I eat bread, and sometimes an egg.
        I go to work by car.
        I go to the work site at nine.
        I am going to work now.
        My wife goes to work with the neighbors.
        When does my work start?
        Does my mother cook well?
        I watch my mother cook.
        My parents cook together every day.
        They let nobody cook here.
        My mother cooks, and my father does the dishes.
        When I listen, music makes me happy.
        I go to shopping malls on Saturdays.
        I make sport clothes for a living.
        I go home after work and rest.
        I work in home care.
        I do sport two times a week.
        I worked all the days of the week.
        I haven't time for that.
        I go to the bed by the window.
        I always go to bed before midnight.
        What did you do in the weekend I was away?
        She is in Sunday school in the morning.
        I like the evening best because it's quiet.
        It's the part I like the most.
        Does she work at home?
        I saw him go to the office.
    """,
    "past_weekend": """
        I went to the cinema with my friends.
        Should I have gone to the park yesterday?
        If it were good, I would buy it.
        I made a great weekend of it.
        I had good times with my family.
        I had quiet time for myself.
        The work I did went to the museum.
        What I did worked.
        I was read a story when I was a child.
        Have I seen a movie like that?
        I have seen that movie before.
        I ate fish last night, and I liked it.
        I did eat something.
        I didn't eat anything.
        I bought coat hangers at the market.
        I bought a book and two tickets.
        What did you buy?
        It cost twenty dollars.
        I found a twenty dollar bill.
        It was a good film, but I was bored at the end.
        I read the newspaper on Sunday.
        When I listened, music came from the garden.
        I didn't work; I did my homework.
        I made my homework look nice.
        I got up at nine and slept in the afternoon.
        I woke up early and left the house.
        We didn't have any time.
        I enjoyed myself very much.
        I enjoyed the party very much.
        The best thing it did was make me laugh.
        I met some old friends yesterday.
        Did you have to work?
        I stayed in home clothes all day.
        I went to church in the morning.
        I went to museum parks and gym classes.
    """,
}


def every_mistake() -> Iterator[tuple[Conversation, Mistake]]:
    for lesson in LESSONS:
        own = [mistake for _, question in questions(lesson) for reply in question.replies for mistake in reply.errors]
        yield from ((lesson, mistake) for mistake in (*own, *lesson.errors, *load_common().errors))


@pytest.mark.parametrize("sentence", [line.strip() for lines in RIGHT.values() for line in lines.strip().splitlines()])
def test_right_english_is_never_corrected(sentence: str) -> None:
    heard = Heard.of(sentence)
    for lesson, mistake in every_mistake():
        for pattern in mistake.patterns:
            found = pattern.match(heard)
            if found is None:
                continue
            right = fill(mistake.fix, found.slots, lesson.values)
            same = right is not None and normal(right) == normal(heard.quote(found.start, found.end))
            assert same, (lesson.id, pattern.source, mistake.fix)


# A mistake in the answer to a step or to its follow-up, and the sentence as it should be: nothing else may change.
WRONG = {
    "introductions": """
        name | my name Anna | my name is Anna
        country | I from Spain | I am from Spain
        country | Well, I am come from Brazil | Well, I come from Brazil
        home | I live at Madrid | I live in Madrid
        work | I am teacher | I am a teacher
        work | I working as a nurse | I work as a nurse
        family | I have two brother | I have two brothers
        free_time | I am like reading | I like reading
        food | I like very much pizza | I like pizza very much
        learning | I learn English since two years | I have learned English for two years
    """,
    "ordering_food": """
        table | I would like table for four, please | I would like a table for four, please
        table | we have reservation | we have a reservation
        drink | I'll have glass of water | I will have a glass of water
        drink | a cup coffee please | a cup of coffee please
        drink | I want drink tea | I want to drink tea
        starter | I want eat soup | I want to eat soup
        main | can I have hamburger | can I have a hamburger
        main | I would like three pizza | I would like three pizzas
        main | I'd like a egg | I'd like an egg
        side | I prefer rice than potatoes | I prefer rice to potatoes
        allergy | I'm allergic of nuts | I am allergic to nuts
        allergy | Yes, I no eat pork | Yes, I don't eat pork
        taste | It taste delicious | it tastes delicious
        taste | it is too much salty | it is too salty
        bill | How much it costs? | how much does it cost?
    """,
    "directions": """
        destination | Excuse me, where is station? | Excuse me, where is the station?
        destination | Excuse me, how I can get to the bank? | Excuse me, how can I get to the bank?
        destination | Excuse me, do you know where is the station? | Excuse me, do you know where the station is?
        destination | I want go to the museum, please | I want to go to the museum, please
        destination | How I can get to the bank? | how can I get to the bank?
        transport | I go with the bus | I go by bus
        transport | I want to take train | I want to take the train
        my_street | There have a bakery in my street | there is a bakery in my street
        my_street | there is many shops | there are many shops
        my_street | it is next of the bank | it is next to the bank
        give_way | you must to go straight ahead | you must go straight ahead
        give_way | Turn to left | turn left
        how_long | it take me ten minutes by bus | it takes me ten minutes by bus
        how_long | it takes thirty minute | it takes thirty minutes
        lost | I ask to a police officer | I ask a police officer
        visit | I recommend you to visit the castle | I recommend visiting the castle
    """,
    "daily_routine": """
        get_up | I am get up early | I get up early
        get_up | I usually get up in six o'clock | I usually get up at six o'clock
        breakfast | I eat always bread | I always eat bread
        breakfast | I no eat breakfast | I don't eat breakfast
        way | I go to work with the bus | I go to work by bus
        begin | My work start at nine o'clock | my work starts at nine o'clock
        after_work | I listen music | I listen to music
        after_work | then I go to home | then I go home
        cooking | My mother cook every day | my mother cooks every day
        cooking | She cook very well | She cooks very well
        sport | three time a week | three times a week
        sport | I run every days | I run every day
        bed | I go to the bed at ten o'clock | I go to bed at ten o'clock
        best_time | I like more the evening | I like the evening more
        best_time | I like it because is quiet | I like it because it is quiet
    """,
    "past_weekend": """
        how_was | I had good time | I had a good time
        where | I went to supermarket | I went to the supermarket
        where | We goed to the beach | we went to the beach
        where | Yesterday I go to the cinema with my wife | Yesterday I went to the cinema with my wife
        where | I did not went out | I didn't go out
        where | I meeted some friends | I met some friends
        where | I went with two friend | I went with two friends
        meal | I eated pizza and salad | I ate pizza and salad
        meal | I drinked coffee | I drank coffee
        shopping | I buyed a new bag | I bought a new bag
        shopping | I bought jacket | I bought a jacket
        shopping | I have bought a coat last Saturday | I bought a coat last Saturday
        shopping | it costed twenty dollars | it cost twenty dollars
        evening | I looked a movie | I watched a movie
        sunday | I sleeped until ten o'clock | I slept until ten o'clock
        work | I didn't had time | I didn't have time
        best | she bringed a cake | she brought a cake
    """,
}


@pytest.mark.parametrize(
    ("lesson_id", "step_id", "said", "mended"),
    [
        (lesson, *(part.strip() for part in line.split(" | ")))
        for lesson, lines in WRONG.items()
        for line in lines.strip().splitlines()
    ],
)
def test_a_mistake_is_mended_and_nothing_else_is_changed(lesson_id: str, step_id: str, said: str, mended: str) -> None:
    lesson = load_lessons()[lesson_id]
    assert isinstance(lesson, Conversation)
    versions = []
    for number, question in questions(lesson):
        if lesson.steps[number].id == step_id:
            version = said
            for correction in understand(said, question, number, lesson, load_common()).corrections:
                assert correction.original in said
                version = version.replace(correction.original, correction.correction)
            versions.append(version)
    assert mended.casefold() in [version.casefold() for version in versions]
