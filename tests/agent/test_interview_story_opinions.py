"""The lessons of an interview, a story and opinions: fair to right English, strict with mistakes, and no more than that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.lessons import Conversation, load_common, load_lessons
from agent.lessons.listen import understand
from agent.lessons.schema import Question

# Right English, and near to the mistakes that are looked for: much of it is there because a looser pattern would have taken it
# for one. As in recognised speech, a full stop is no hint: "That's who I am. Forget it." is heard as one run of words.
RIGHT = {
    "job_interview": """
        I'd like to know how many hours I will work.
        How many hours I will work is important to me.
        I am responsible for three people.
        I have twenty years of experience.
        I have ten years' experience in sales.
        I work in sales since it is fun.
        I work in sales since two years of training were enough.
        Yes, I am, doctor.
        I work like a machine.
        I am an engineer by training.
        I work as manager of the branch.
        What I did helped the customer.
        I was a waiter and a cook.
        What I did was right.
        I can do everything I can to help.
        I do the best I can to solve problems.
        I do whatever I can to work with people.
        Am I shy? A little.
        Am I nervous before an interview? Yes.
        How hard I work hardly matters.
        I hardly work on Sundays.
        I am too much of a perfectionist.
        I am interesting in my own way.
        I am afraid from time to time.
        If the customer were angry, I would talk to him.
        I want more responsibility.
        I want work that matters.
        The people I want learn fast.
        I work in team sports.
        I prefer to work in teams.
        I work in Team Seven.
        It depends, of course, on the job.
        It depends from person to person.
        It depends on the people.
        I came in, Monday was over.
        I can start in May.
        I can start in two weeks.
        I can start at nine on Monday.
        I can start on Monday next week.
        I can start since I am free.
        How many hours do I work?
        I stepped forward to hear better.
        I look forward to the job.
        I have a problem with that.
        The job I like to work in is teaching.
        I am like my father.
        People know what I am like to work with.
        I'm studying medicine at the moment.
        I have finished school.
        I'm organized and I'm a good listener.
        I am good at my job.
        I am good in a crisis.
        I can't say no.
        It is hard for me to say no.
        I do not know what to say.
        I didn't know that.
        Do you know what it means?
        Can you explain how it works?
        Can you explain this to me?
        What does the company offer?
        What the company offers is good.
        I had a job interview yesterday, and we were all there.
        When I was young, we were poor.
        What was your question?
        Last year I worked in a hotel.
        I've worked there since 2019.
        I have worked there since May.
        I have been working here since two o'clock.
        I've been a nurse for ten years.
        I helped a colleague who was ill, and we finished in time.
        I like my job because the people are friendly.
        The will of the people is important.
        I like my job very much.
        What I like very much is my team.
        She works as a nurse and I work as a cook.
        I am a team player and a fast learner.
        I am hardworking.
        I work very hard.
        I can start since Monday is free.
        Because I want to learn.
    """,
    "telling_story": """
        Whatever it was happened so fast.
        It's happened before.
        It happened before two years had passed.
        When I had ten years of school behind me, I left.
        If I were at home, I would sleep.
        I wish I were at the beach.
        It was in last year's news.
        We were in the beach house.
        He was in the beach bar.
        I was in the park and it was sunny.
        One of my friends was with me.
        If the weather were better, I would go out.
        There was windy weather all day.
        There was many a bear in the forest.
        There was a lot of traffic.
        There were many people.
        It was rain that I heard.
        Whatever it was rained down on us.
        I did everything I could not to sleep.
        I could not sleep.
        The place where I was went dark.
        It was about, of course, a dog.
        It is about wedding dresses.
        My friend said me too.
        She said that she knew me.
        She told me that she was late.
        He did not found the company.
        They arrived to find an empty house.
        We arrived in Spain.
        I go to Spain. Last year I went to Rome.
        I don't know if I would have known.
        I wonder if I would have stayed.
        If everybody were happy, nobody would cry.
        It was happy, end of story.
        We went to home games every week.
        They helped to find me.
        Somebody helped to carry us.
        I asked to see him.
        I asked to leave.
        That very surprise made me happy.
        I was very surprised.
        I was surprised that nobody knew.
        I had an accident yesterday.
        I was scared because it was dark.
        When I was a child, we lived in Canada.
        When I was student president, I had little time.
        My parents were there and my sister was too.
        I was happy when they found me.
        The sun was shining.
        I would have gone home.
        I will never forget it.
        I was going to call a taxi when we heard a noise.
        I lost my bag last year.
        Last year I have to say I was unhappy.
        When did it happen?
        We had never been there before.
        I had been waiting for two hours when he came.
        I was sitting on a train when I saw it.
        I've never seen anything like it.
        I used to live there.
        He said he was fine.
        We were told to wait.
    """,
    "opinions": """
        I prefer the city to the country.
        I prefer the city rather than the country.
        I like more books than films.
        What I think is important is the family.
        What I think is good for me may be bad for you.
        They asked for my opinion.
        They asked for my opinion, it is good.
        In my opinion it is true.
        It depends, of course, on the person.
        The number of phones is growing.
        A world without phones is quiet.
        One of the advantages is that you save time.
        He held it in the other hand.
        There are more old than young people here.
        There are more cheaper flats in the country.
        We need more cheaper flats.
        It's more interesting as a film.
        It is important that people learn.
        It's better that the country pays.
        Does everybody have a phone?
        If everybody had a phone, it would be bad.
        Does everybody need English?
        Not everybody needs it.
        The woman who helps people thinks so.
        Does money make people happy?
        People with money do not worry.
        We do what we should to save the planet.
        As we should, to be fair.
        I wonder if I would be happy.
        I would be happy if I could.
        It is better for me to be in nature.
        It's in the nature of people.
        I like nature.
        That makes me happily married.
        There is too much noise.
        There are too many people.
        There is so much traffic.
        The film is as good as the book.
        Because it makes me happy.
        Because it made me happy.
        I'm against smoking.
        They're against it, of course.
        Do you agree? I do.
        I agree, but I am not sure.
        Working from home, have you ever felt lonely?
        I think phones are bad, but computers are good.
        I think books are better.
        My friends make me happy.
        Everybody should have a home.
        People should not have to pay.
        I think that most people think so.
        Most people are nice.
        A lot of people have cars.
        The problem is more difficult than the solution.
        It's quieter than the city.
        The house is more old than new.
        I'm not agreeing with that.
    """,
}

# The step, a mistake in the answer to it or to its follow-up, and the same answer put right.
WRONG = {
    "job_interview": """
        background | I am engineer and I live here | I am an engineer and I live here
        background | I'm work as a cook | I work as a cook
        background | I like it because is interesting | I like it because it is interesting
        experience | I work in sales since five years | I have worked in sales for five years
        experience | since ten years | for ten years
        strengths | I am good in solving problems quickly | I am good at solving problems quickly
        strengths | I am honest person | I am an honest person
        weakness | I'm too much shy with people | I am too shy with people
        weakness | I'm afraid from phone calls | I am afraid of phone calls
        problem | We were late and I did a mistake | We were late and I made a mistake
        why | I am interesting in this job | I am interested in this job
        why | because I want learn new things | because I want to learn new things
        team | I prefer to work in team | I prefer to work in a team
        team | It depends of the project | it depends on the project
        start | I can start in Monday morning | I can start on Monday morning
        start | I can start on next week | I can start next week
        questions | How much hours do I work? | how many hours do I work?
        questions | Can you explain me how it works? | Can you explain to me how it works?
    """,
    "telling_story": """
        topic | It is about wedding | it is about a wedding
        time | It happened before two years | it happened two years ago
        time | It was when I was child | It was when I was a child
        time | when I had ten years | when I was ten years old
        place | We was at the beach with friends | we were at the beach with friends
        place | I go to Italy last summer | I went to Italy last summer
        company | my parents was with me | my parents were with me
        weather | It made cold | it was cold
        event | Then we falled into the water | Then we fell into the water
        event | there was three dogs | there were three dogs
        event | He runned away | He ran away
        event | My friend said me that he was lost | My friend told me that he was lost
        feeling | I was very surprise by it | I was very surprised by it
        feeling | I felt me happy | I felt happy
        feeling | because was dark | because it was dark
        ending | It was happy end for us | it was a happy end for us
        ending | They helped to us | They helped us
        lesson | If I would have known, I would have waited | if I had known, I would have waited
    """,
    "opinions": """
        home | I prefer the city than the country | I prefer the city to the country
        home | because there is too much cars | because there are too many cars
        home | It is more cheaper than here | It is cheaper than here
        home | Life is more quiet than a big city | Life is quieter than a big city
        phones | I think is dangerous for them | I think it is dangerous for them
        phones | Phones is bad for children | phones are bad for children
        phones | For my opinion it is good | in my opinion it is good
        work | It is good because it save time | It is good because it saves time
        work | In the other hand you are alone | on the other hand you are alone
        money | I am not agree with that | I don't agree with that
        money | Money make people happy | money makes people happy
        stories | I prefer books than films | I prefer books to films
        stories | A film is as interesting than a book | A film is as interesting as a book
        nature | We should to plant trees | we should plant trees
        mayor | If I would be the mayor, I would build more parks | if I were the mayor, I would build more parks
        english | Everybody need English | everybody needs English
        english | Some people thinks so | some people think so
    """,
}


def questions(lesson: Conversation) -> Iterator[tuple[str, int, Question]]:
    for number, step in enumerate(lesson.steps):
        yield step.id, number, step
        yield from ((step.id, number, reply.follow_up) for reply in step.replies if reply.follow_up is not None)


def corrected(lesson: Conversation, said: str, question: Question, number: int) -> str:
    """``said`` with its corrections put in."""
    for correction in understand(said, question, number, lesson, load_common()).corrections:
        assert correction.original in said
        said = said.replace(correction.original, correction.correction)
    return said


@pytest.mark.parametrize("sentence", [line.strip() for lines in RIGHT.values() for line in lines.strip().splitlines()])
@pytest.mark.parametrize("name", RIGHT)
def test_right_english_is_not_corrected(name: str, sentence: str) -> None:
    lesson = load_lessons()[name]
    assert isinstance(lesson, Conversation)
    for _, number, question in questions(lesson):
        assert corrected(lesson, sentence, question, number) == sentence


@pytest.mark.parametrize(
    ("name", "step", "said", "right"),
    [
        (name, *(part.strip() for part in line.split(" | ")))
        for name, lines in WRONG.items()
        for line in lines.strip().splitlines()
    ],
)
def test_a_mistake_is_put_right_and_the_rest_is_left(name: str, step: str, said: str, right: str) -> None:
    lesson = load_lessons()[name]
    assert isinstance(lesson, Conversation)
    asked = [(number, question) for step_id, number, question in questions(lesson) if step_id == step]
    results = [corrected(lesson, said, question, number) for number, question in asked]
    assert right.casefold() in [result.casefold() for result in results]


def test_the_sentences_to_read_aloud_grow_longer() -> None:
    lesson = load_lessons()["read_aloud"]
    assert lesson.kind == "read_aloud"
    words = [len(sentence.split()) for sentence in lesson.sentences]
    thirds = [words[i : i + 5] for i in (0, 5, 10)]
    assert len(words) == len(set(lesson.sentences)) == 15
    assert max(thirds[0]) <= 7 < min(thirds[1])
    assert max(thirds[1]) <= 12 < min(thirds[2])
