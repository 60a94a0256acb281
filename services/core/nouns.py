"""English nouns whose singular no rule finds. `services.core.phrases` asks here before it asks `inflect`."""

from __future__ import annotations


def _words(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


INVARIANT: frozenset[str] = _words(
    # things that come as a pair, or only as many
    """
    glasses eyeglasses sunglasses spectacles goggles binoculars headphones earphones earbuds scissors
    shears pliers tongs tweezers clippers nippers jeans pants trousers shorts tights leggings overalls
    dungarees pajamas pyjamas underpants knickers boxers briefs slacks chinos khakis suspenders braces
    sweatpants joggers clothes handcuffs scales goods groceries belongings remains stairs bleachers
    barracks headquarters crossroads fireworks checkers darts billiards oats noodles greens
    """,
    # singulars that look like plurals
    """
    gas canvas atlas pancreas christmas alias bias texas pampas lens rhinoceros thermos asbestos kudos
    cosmos chaos pathos news series species means aircraft spacecraft hovercraft electronics physics
    mathematics economics politics gymnastics athletics aerobics graphics genetics robotics acoustics
    logistics yes always biceps triceps forceps molasses measles mumps rabies diabetes hercules mercedes
    """,
    # one and many are the same, or mass nouns and borrowed words that rules mistake for plurals
    """
    sheep fish deer moose bison salmon trout shrimp squid swine cattle police media data graffiti
    spaghetti confetti broccoli
    """,
)
"""Words that stay as they are."""

EXCEPTIONS: dict[str, str] = {
    # plurals in -us and -is, which as a rule are singulars
    "menus": "menu", "emus": "emu", "gnus": "gnu", "gurus": "guru", "tutus": "tutu", "zebus": "zebu",
    "kudus": "kudu", "caribous": "caribou", "bayous": "bayou", "plateaus": "plateau", "chateaus": "chateau",
    "bureaus": "bureau", "tableaus": "tableau", "skis": "ski", "taxis": "taxi", "bikinis": "bikini",
    "kiwis": "kiwi", "rabbis": "rabbi", "safaris": "safari", "salamis": "salami", "zucchinis": "zucchini",
    "paninis": "panini", "jacuzzis": "jacuzzi", "yetis": "yeti", "okapis": "okapi", "martinis": "martini",
    "saris": "sari", "pirogis": "pirogi",
    # what the library does not know, or spells otherwise
    "busses": "bus", "thermoses": "thermos", "cacti": "cactus", "octopi": "octopus", "fungi": "fungus",
    "smoothies": "smoothie", "hoodies": "hoodie", "selfies": "selfie", "passersby": "passerby", "axes": "axe",
    "dice": "die", "people": "person", "persons": "person",
}  # fmt: skip
"""Plural: singular."""

DRINKING: frozenset[str] = _words(
    """wine drinking water beer champagne shot pint cocktail whisky whiskey martini juice milk empty full tall
    magnifying looking measuring brandy highball"""
)
"""Words before which `glasses` are several of a glass, not eyeglasses."""
