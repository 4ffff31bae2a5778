"""Words of the closed classes with the tags they can have, most usual first (the Penn treebank's tags, and a few of our own).

Ours: ``NOT`` for "not" and "n't", ``WH`` for question words and relatives, ``PUNCT`` for marks. Determiners that stand for a
noun phrase alone, such as "this", stay ``DT``.
"""

from __future__ import annotations


def _table(text: str) -> dict[str, dict[str, float]]:
    """``word: TAG share TAG share`` a line; several words may share a line."""
    table: dict[str, dict[str, float]] = {}
    for line in text.strip().splitlines():
        words, _, tags = line.partition(":")
        parts = tags.split()
        shares = {tag: float(share) for tag, share in zip(parts[::2], parts[1::2], strict=True)}
        for word in words.split():
            table[word] = shares
    return table


CLOSED = _table("""
the a an every another either neither: DT 1
this these those each some any no all both: DT 1
that: DT 0.3 IN 0.45 WH 0.25
such half quite: DT 0.5 RB 0.3 JJ 0.2
many few several much: JJ 0.9 RB 0.1
more less: JJR 0.55 RBR 0.45
most least: JJS 0.5 RBS 0.5
enough: JJ 0.4 RB 0.5 NN 0.1
own other same next last first: JJ 1
thank: VBP 0.8 VB 0.2
my your our its their whose: PRPS 1
his: PRPS 0.97 PRP 0.03
her: PRPS 0.7 PRP 0.3
i you he she it we they me him us them: PRP 1
mine yours hers ours theirs myself yourself himself herself itself ourselves yourselves themselves: PRP 1
someone somebody something anyone anybody anything everyone everybody everything nobody nothing: NN 1
one: CD 0.6 NN 0.2 PRP 0.2
two three four five six seven eight nine ten: CD 1
eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty: CD 1
thirty forty fifty sixty seventy eighty ninety hundred thousand million billion: CD 1
can could will would shall should must may might 'll ca wo sha: MD 1
ought: MD 1
'd: MD 0.6 VBD 0.4
not n't: NOT 1
to: TO 1
of at from with into onto during against among between without toward towards upon despite via per beside besides: IN 1
by: IN 0.98 RP 0.02
in on: IN 0.95 RP 0.05
up out off down away: RP 0.7 IN 0.2 RB 0.1
over: IN 0.6 RP 0.3 RB 0.1
about: IN 0.8 RB 0.2
around through across along behind: IN 0.8 RB 0.2
for: IN 0.98 CC 0.02
as: IN 0.8 RB 0.2
if because although though while unless until till whether whereas than: IN 1
since: IN 1
before after: IN 0.93 RB 0.07
under above below near inside outside beyond: IN 0.75 RB 0.15 JJ 0.1
like: IN 0.5 VB 0.2 VBP 0.28 JJ 0.02
and or but nor: CC 1
so: RB 0.7 IN 0.3
yet: RB 0.8 CC 0.2
who what which where when why how whom: WH 1
there: EX 0.5 RB 0.5
here now then again always never often sometimes usually also too: RB 1
very just only even still already ever soon really maybe perhaps: RB 1
together almost quite rather however therefore moreover instead today tomorrow yesterday tonight once twice ago else: RB 1
yesterday today tomorrow tonight: RB 0.8 NN 0.2
am 'm: VBP 1
is: VBZ 1
are 're: VBP 1
was were: VBD 1
be: VB 1
been: VBN 1
being: VBG 1
's: VBZ 0.5 POS 0.5
': POS 1
have 've: VBP 0.55 VB 0.45
has: VBZ 1
had: VBD 0.85 VBN 0.15
having: VBG 1
do: VBP 0.6 VB 0.4
does: VBZ 1
did: VBD 1
done: VBN 1
doing: VBG 1
yes yeah oh hello hi okay ok please well bye goodbye ah hey: UH 1
well: RB 0.7 UH 0.28 JJ 0.02
please: UH 0.9 VB 0.1
home: NN 0.7 RB 0.3
back: RB 0.7 NN 0.2 VB 0.05 JJ 0.05
first last next: JJ 0.8 RB 0.2
right: JJ 0.5 RB 0.25 NN 0.25
little: JJ 1
lot lots: NN 1
long far hard early late fast: JJ 0.55 RB 0.45
best worst: JJS 0.85 RBS 0.15
better worse: JJR 0.7 RBR 0.3
people police: NNS 1
time work money food: NN 0.97 VB 0.03
sure free good old whole great general local: JJ 0.97 NN 0.03
pretty: JJ 0.4 RB 0.6
english french german spanish italian chinese japanese russian: NNP 0.5 JJ 0.5
monday tuesday wednesday thursday friday saturday sunday january: NNP 1
february april june july august september october november december: NNP 1
""")
"""Later lines win."""
