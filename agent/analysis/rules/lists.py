"""Word lists of the rules."""

from __future__ import annotations

from agent.analysis.english.wordset import wordset

MASS = wordset(
    """
    accommodation advice air anger art baggage beauty beef behavior behaviour biology bread business butter chaos cash
    cheese chemistry chess chicken childhood clothing coffee comfort commerce communication confidence courage cotton
    cream crime culture damage dancing danger dark darkness data death democracy dinner dirt dust economics education
    electricity employment energy engineering enjoyment entertainment environment equipment evidence exercise experience
    fashion feedback fish fishing fitness flour food football freedom fruit fuel fun furniture garbage gas gasoline
    geography glass gold golf gossip grammar grass growth hair happiness harm hate health heat help history homework
    honesty honey hospitality housework housing humour humor hunger ice imagination importance industry inflation
    information insurance intelligence internet jam jazz jewellery jewelry juice junk justice kindness knowledge labor
    labour land language laughter law leather leisure life light linguistics literature loneliness love luck luggage
    lunch machinery mail mathematics maths meat medicine milk mineral money motivation mud music nature news noise
    nonsense nutrition oil oxygen paint paper parking patience pay peace pepper permission petrol philosophy photography
    physics poetry politics pollution population pork poverty power practice pride privacy production progress proof
    protection psychology publicity punctuation quality rain rainfall reading research respect rice rubbish rugby
    running safety salad salt sand scenery school science security sex shame shopping sightseeing silence silk silver
    skin sleep slang smoke smoking snow soap soccer society software soil space spelling sport stuff success sugar
    sunlight sunshine support swimming tea technology television tennis thunder time timber tourism trade traffic
    training transport transportation travel trash trust truth understanding unemployment unity usage vegetation
    violence vocabulary volleyball war warmth waste water wealth weather weight wheat wildlife wine wisdom wood wool
    work writing yoga youth breakfast supper english ice lightning basketball baseball hockey karate judo hiking cycling
    skiing gymnastics cooking singing painting drawing gardening everyone everything anything something nothing somebody
    nobody anybody everybody someone anyone homework pasta pizza soup rice meat toast chocolate cake beer whiskey vodka
    alcohol plastic metal steel iron stone rock ground independence interest interaction attention access action
    activity ability adulthood adventure age agriculture aid ambition anxiety appearance authority awareness bacteria
    balance blame blood care change character charity choice class competition concentration concern conflict
    consumption content control conversation cooperation cost creation creativity criticism curiosity death debt
    decision delivery demand depression desire destruction detail development difficulty discipline discovery discussion
    disease duty effect efficiency effort emotion equality etiquette existence expectation experience failure faith fame
    family fear fire flight force friendship generation globalization globalisation government gravity greed grief guilt
    hardship hope hospital identity improvement income inequality influence injury innovation investment isolation
    journalism joy judgment knowledge leadership learning maintenance management marriage material memory mind
    modernization morality movement nationality need obesity obligation opinion order organization pain parenthood
    participation passion perfection performance personality pleasure policy potential practice prayer preparation
    presence pressure prevention prison procedure profit progress prosperity punishment purpose racism reality reason
    recognition recreation recycling reference reform relaxation religion responsibility retirement revenge rest risk
    room satisfaction secrecy self-confidence sense service shape shelter shortage sickness skill socialization solitude
    speech speed spirit spring stability starvation strength stress structure study style suffering summer winter autumn
    fall supply surgery survival talent taxation taste teamwork temperature tension terrorism theory therapy thought
    tolerance top touch tradition treatment trouble university urbanization urbanisation value variety vision volume
    voting wealth welfare worship worth publicity print evolution humanity mankind god heaven hell earth night midnight
    noon lunchtime daylight dawn dusk sunset sunrise
    """
)
"""Nouns that stand without an article at least now and then, so that a missing one proves nothing."""

ALONE = wordset(
    """
    college church bed home town bottom hand foot mouth court office jail sea school university class hospital prison
    marriage breakfast lunch dinner
    """
)
"""Nouns that stand without an article where no adjective stands before them: in town, but in a small town."""

PURE_MASS = {
    "accommodations": "accommodation", "advices": "advice", "baggages": "baggage", "breads": "bread",
    "clothings": "clothing", "equipments": "equipment", "evidences": "evidence", "feedbacks": "feedback",
    "furnitures": "furniture", "garbages": "garbage", "happinesses": "happiness", "homeworks": "homework",
    "houseworks": "housework", "informations": "information", "jewelries": "jewelry", "jewelleries": "jewellery",
    "knowledges": "knowledge", "luggages": "luggage", "machineries": "machinery", "moneys": "money", "musics": "music",
    "newses": "news", "patiences": "patience", "permissions": "permission", "pollutions": "pollution",
    "progresses": "progress", "researches": "research", "sceneries": "scenery", "slangs": "slang", "softwares": "software",
    "staffs": "staff", "stuffs": "stuff", "traffics": "traffic", "transportations": "transportation", "trashes": "trash",
    "vocabularies": "vocabulary", "weathers": "weather", "wildlifes": "wildlife", "works": "work", "rices": "rice",
    "sands": "sand", "electricities": "electricity", "behaviours": "behaviour", "behaviors": "behavior",
    "unemployments": "unemployment", "violences": "violence", "poverties": "poverty", "mails": "mail",
}  # fmt: skip
"""Plurals that are hardly ever right, with what is meant."""

NEVER_A = wordset(
    """
    advice baggage bread clothing equipment evidence feedback furniture garbage happiness health homework housework
    information jewelry jewellery luggage machinery money music news patience permission pollution progress research
    rice rubbish scenery software stuff traffic transportation unemployment violence weather wildlife work luck traffic
    fun electricity water sand vocabulary air courage fluency accommodation
    """
) - {"work", "water", "vocabulary"}
"""Nouns that do not take "a" (where no countable noun follows)."""

IRREGULAR_PLURALS = {
    "childs": "children", "childrens": "children", "mans": "men", "mens": "men", "womans": "women", "womens": "women",
    "foots": "feet", "feets": "feet", "tooths": "teeth", "teeths": "teeth", "mouses": "mice", "gooses": "geese",
    "sheeps": "sheep", "peoples": "people", "persones": "people", "wifes": "wives", "knifes": "knives", "lifes": "lives",
    "leafs": "leaves", "shelfs": "shelves", "wolfs": "wolves", "halfs": "halves", "loafs": "loaves", "thiefs": "thieves",
    "potatos": "potatoes", "tomatos": "tomatoes", "heros": "heroes", "citys": "cities", "countrys": "countries",
    "storys": "stories", "familys": "families", "babys": "babies", "partys": "parties", "ladys": "ladies",
    "hobbys": "hobbies", "boxs": "boxes", "buss": "buses", "watchs": "watches", "matchs": "matches", "classs": "classes",
    "dishs": "dishes", "deers": "deer", "policemans": "policemen", "businessmans": "businessmen",
    "grandchilds": "grandchildren", "oxes": "oxen",
}  # fmt: skip

WRONG_PASTS = {
    "goed": "went", "buyed": "bought", "eated": "ate", "drinked": "drank", "writed": "wrote", "taked": "took",
    "maked": "made", "comed": "came", "runned": "ran", "sleeped": "slept", "speaked": "spoke", "teached": "taught",
    "thinked": "thought", "bringed": "brought", "catched": "caught", "feeled": "felt", "finded": "found",
    "forgetted": "forgot", "getted": "got", "gived": "gave", "growed": "grew", "haved": "had", "heared": "heard",
    "keeped": "kept", "knowed": "knew", "leaved": "left", "losed": "lost", "meeted": "met", "payed": "paid",
    "putted": "put", "readed": "read", "rided": "rode", "sayed": "said", "seed": "saw", "selled": "sold", "sended": "sent",
    "singed": "sang", "sitted": "sat", "spended": "spent", "standed": "stood", "stealed": "stole", "swimmed": "swam",
    "telled": "told", "throwed": "threw", "understanded": "understood", "waked": "woke", "weared": "wore", "winned": "won",
    "breaked": "broke", "builded": "built", "choosed": "chose", "cutted": "cut", "drawed": "drew", "drived": "drove",
    "falled": "fell", "fighted": "fought", "flied": "flew", "hitted": "hit", "hurted": "hurt", "costed": "cost",
    "beginned": "began", "becomed": "became", "doed": "did", "lended": "lent", "letted": "let", "shutted": "shut",
    "wented": "went", "tooked": "took", "thinkt": "thought", "stucked": "stuck", "quitted": "quit", "shaked": "shook",
    "bited": "bit", "blowed": "blew", "rised": "rose", "holded": "held", "leaded": "led", "sinked": "sank",
}  # fmt: skip

WRONG_COMPARISONS = {
    "worser": "worse", "worsest": "worst", "gooder": "better", "goodest": "best", "badder": "worse", "baddest": "worst",
    "beautifuler": "more beautiful", "bestest": "best", "betterer": "better", "importanter": "more important",
    "expensiver": "more expensive", "interestinger": "more interesting", "difficulter": "more difficult",
    "farer": "farther", "funner": "more fun", "comfortabler": "more comfortable", "carefuller": "more careful",
}  # fmt: skip

STATIVE = wordset(
    """
    know believe understand belong own prefer need want contain exist seem deserve mean
    """
)

PERSON = wordset(
    """
    man woman boy girl friend brother sister father mother teacher student doctor person child uncle aunt cousin
    neighbor neighbour boss colleague wife husband son daughter nurse driver engineer actor actress singer player writer
    waiter waitress manager guy lady people men women children students friends parents teachers boys girls kids someone
    somebody everyone everybody anyone nobody
    """
)
FEMALE = wordset(
    """
    mother sister wife daughter aunt grandmother girl woman niece girlfriend mum mom queen lady
    """
)
MALE = wordset(
    """
    father brother husband son uncle grandfather boy man nephew boyfriend dad king gentleman
    """
)

FAMILY = wordset(
    """
    mother father brother sister wife husband son daughter friend uncle aunt cousin grandmother grandfather neighbor
    neighbour teacher boss boyfriend girlfriend roommate mum dad
    """
)

PAST_TIME = ("yesterday", "ago")
DAYS = wordset(
    """
    monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays saturdays
    sundays
    """
)
MONTHS = wordset("january february april june july august september october november december")
UNITS = wordset(
    """
    second minute hour day week month year decade century night weekend summer winter spring autumn fall semester season
    term morning evening afternoon
    """
)
LANGUAGES = wordset(
    """
    english german french spanish italian chinese japanese korean russian portuguese arabic turkish polish hindi dutch
    vietnamese thai mandarin greek latin swedish
    """
)
SPORTS = wordset(
    """
    football basketball tennis soccer baseball volleyball golf chess hockey cricket badminton rugby handball cards
    sports
    """
)

PLACE_ADVERBS = wordset(
    """
    there here home abroad upstairs downstairs downtown somewhere everywhere anywhere overseas
    """
)

FREQUENCY = wordset("always usually often sometimes never rarely seldom")
PROFESSIONS = wordset(
    """
    accountant actor actress architect artist baker barber carpenter cashier chef chemist cleaner clerk coach consultant
    cook dancer dentist designer detective developer director doctor driver economist editor electrician engineer farmer
    firefighter fisherman guide hairdresser housewife journalist judge lawyer lecturer librarian manager mechanic
    musician nurse officer painter photographer pianist pilot plumber policeman policewoman politician professor
    programmer receptionist reporter researcher sailor salesman salesperson scientist secretary singer soldier student
    surgeon tailor teacher technician translator tutor vet waiter waitress worker writer beginner foreigner vegetarian
    stranger member
    """
)
