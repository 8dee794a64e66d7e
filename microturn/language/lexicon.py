"""The words of the open scenarios, by class: plain lower-case words, each in one class only.

``CONTENT`` is what may be asked for, repeated, heard and set as a cue. ``FUNCTION`` holds the other words of requests
and sentences. ``UNSEEN`` is kept out of training altogether, for a row of its own in the benchmark. A letter's name is
written as the single letter in the lanes and as ``"a."`` in a text to be spoken (see ``voices.wordtimes.tokens``).
"""

from __future__ import annotations

from microturn.errors import InputError

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty", "thirty", "forty",
    "fifty", "sixty", "seventy", "eighty", "ninety", "hundred",
)  # fmt: skip

COLOURS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey", "silver", "golden",
    "beige", "turquoise", "violet", "crimson",
)  # fmt: skip

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip

OBJECTS = (
    "alarm", "bag", "ball", "basket", "bed", "bell", "bench", "bicycle", "blanket", "boat", "book", "boot", "bottle",
    "bowl", "box", "bridge", "broom", "brush", "bucket", "bus", "button", "camera", "candle", "car", "card", "carpet",
    "chair", "clock", "coat", "coin", "comb", "computer", "cup", "curtain", "cushion", "desk", "diamond", "dish",
    "doll", "door", "drawer", "dress", "drum", "envelope", "fan", "fence", "flag", "flower", "fork", "fridge", "glass",
    "glove", "guitar", "hammer", "hat", "helicopter", "helmet", "house", "jacket", "kettle", "key", "keyboard", "knife",
    "ladder", "lamp", "laptop", "leaf", "lock", "map", "mat", "medal", "microphone", "mirror", "motorcycle", "mug",
    "nail", "needle", "newspaper", "oven", "painting", "pan", "paper", "pen", "pencil", "phone", "piano", "pillow",
    "pipe", "plate", "pocket", "poster", "purse", "radio", "razor", "ring", "robot", "roof", "rope", "ruler", "scarf",
    "scissors", "screen", "ship", "shirt", "shoe", "shovel", "shower", "sign", "sink", "skirt", "soap", "sock", "sofa",
    "spoon", "stamp", "statue", "stove", "suitcase", "sweater", "sword", "table", "taxi", "telephone", "television",
    "tent", "ticket", "toaster", "toilet", "toothbrush", "towel", "toy", "train", "tree", "trousers", "truck",
    "trumpet", "umbrella", "vase", "wallet", "watch", "wheel", "window",
)  # fmt: skip

ANIMALS = (
    "bear", "bird", "butterfly", "camel", "cat", "chicken", "cow", "crocodile", "dog", "donkey", "duck", "eagle",
    "elephant", "fish", "fox", "frog", "giraffe", "goat", "goose", "hamster", "lion", "lizard", "monkey", "mouse",
    "owl", "panda", "penguin", "pig", "pigeon", "rabbit", "shark", "sheep", "snake", "spider", "squirrel", "tiger",
    "turtle", "whale", "wolf", "zebra",
)  # fmt: skip

FOODS = (
    "apple", "avocado", "bacon", "banana", "bread", "butter", "cabbage", "cake", "carrot", "cheese", "cherry",
    "chocolate", "coconut", "coffee", "cookie", "cucumber", "egg", "garlic", "ginger", "grape", "honey", "juice",
    "lemon", "lettuce", "mango", "melon", "milk", "mushroom", "noodle", "onion", "pancake", "pasta", "peach", "peanut",
    "pear", "pepper", "pineapple", "pizza", "popcorn", "potato", "pumpkin", "rice", "salad", "salt", "sandwich",
    "sausage", "soup", "spinach", "strawberry", "sugar", "tomato", "vinegar", "water",
)  # fmt: skip

PLACES = (
    "airport", "balcony", "bakery", "bathroom", "beach", "bedroom", "castle", "cellar", "church", "city", "corridor",
    "desert", "factory", "farm", "forest", "garage", "garden", "hospital", "hotel", "island", "kitchen", "library",
    "market", "mountain", "museum", "office", "park", "restaurant", "river", "school", "station", "street", "theatre",
    "valley", "village",
)  # fmt: skip

NAMES = (
    "alexa", "alice", "charlie", "daniel", "david", "helen", "jarvis", "laura", "lucy", "maria", "martin",
    "oliver", "paul", "peter", "robert", "sarah", "simon", "snowboy", "susan", "thomas",
)  # fmt: skip

ADJECTIVES = (
    "angry", "beautiful", "big", "bright", "broken", "busy", "cheap", "clean", "clever", "cold", "dangerous", "dark",
    "deep", "difficult", "dirty", "early", "easy", "empty", "expensive", "famous", "fast", "funny", "happy", "heavy",
    "hot", "huge", "hungry", "important", "late", "lazy", "little", "loud", "lucky", "modern", "narrow", "noisy",
    "old", "perfect", "quick", "quiet", "rich", "safe", "short", "simple", "slow", "small", "smart", "soft",
    "special", "strange", "strong", "sweet", "tall", "tired", "ugly", "warm", "wet", "young",
)  # fmt: skip

VERBS = (
    "begin", "bring", "build", "carry", "catch", "climb", "close", "cook", "dance", "draw", "drink", "drive", "eat",
    "finish", "follow", "forget", "help", "jump", "laugh", "learn", "listen", "move", "open", "play", "pull", "push",
    "remember", "ride", "run", "sing", "sleep", "smile", "speak", "start", "swim", "talk", "teach", "throw", "travel",
    "walk", "wash", "whisper", "work",
)  # fmt: skip

OTHERS = (
    "afternoon", "baby", "birthday", "brother", "child", "cloud", "colour", "doctor", "family", "father", "finger",
    "fire", "football", "friend", "hand", "heart", "holiday", "language", "letter", "lunch", "money", "moon", "mother",
    "music", "nobody", "number", "people", "question", "rain", "sister", "snow", "song", "story", "summer", "sun",
    "teacher", "thunder", "tomorrow", "weather", "weekend", "view", "winter", "world", "yesterday",
)  # fmt: skip

CONTENT = (
    *NUMBERS, *COLOURS, *WEEKDAYS, *MONTHS, *OBJECTS, *ANIMALS, *FOODS, *PLACES, *NAMES, *ADJECTIVES, *VERBS, *OTHERS,
)  # fmt: skip
"""Every content word."""

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")

FUNCTION = (
    "a", "after", "am", "and", "answer", "are", "as", "at", "but", "can", "could", "count", "do", "each", "enough",
    "every", "evening", "fine", "for", "from", "good", "goodbye", "has", "have", "he", "hear", "hello", "her", "hey",
    "his", "how", "i", "if", "in", "is", "it", "know", "let", "like", "many", "me", "mind", "morning", "much",
    "my", "night", "no", "not", "now", "of", "okay", "on", "or", "our", "out", "please", "remind", "repeat", "said",
    "saw", "say", "second", "seconds", "see", "she", "so", "some", "soon", "spell", "stop", "tell", "thank", "that",
    "the", "their", "then", "there", "they", "this", "time", "times", "to", "until", "up", "us", "wait", "want", "was",
    "we", "welcome", "well", "what", "when", "whenever", "where", "which", "while", "who", "will", "with", "word",
    "would", "yes", "you", "your",
)  # fmt: skip
"""Words of requests and sentences that are not asked for by themselves."""

UNSEEN = (
    "anchor", "attic", "balloon", "cactus", "captain", "crystal", "dolphin", "dragon", "engine", "feather", "festival",
    "galaxy", "harbour", "history", "jungle", "kangaroo", "lantern", "magnet", "necklace", "octopus", "parrot",
    "picture", "planet", "pyramid", "raincoat", "rocket", "saddle", "sailor", "skeleton", "sunflower", "temple",
    "tractor", "tunnel", "velvet", "violin", "volcano", "waterfall", "whistle", "wizard", "yoghurt",
)  # fmt: skip
"""Common words that no training session contains."""

HOMOPHONES: tuple[tuple[str, ...], ...] = (
    ("two", "to"), ("four", "for"), ("know", "no"), ("their", "there"), ("are", "our", "or", "r"), ("see", "c"),
    ("you", "u"), ("one", "penguin"), ("two", "tuesday"), ("two", "toothbrush"), ("two", "tomorrow"),
    ("three", "thirteen", "thirty"), ("four", "fourteen", "forty"), ("four", "fork"), ("four", "forest"),
    ("four", "forget"), ("five", "fifteen", "fifty"), ("six", "sixteen", "sixty"), ("seven", "seventeen", "seventy"),
    ("eight", "eighteen", "eighty"), ("eight", "plate", "late"), ("eight", "potato"), ("eight", "tomato"),
    ("nine", "nineteen", "ninety"), ("ten", "tent"), ("red", "bread"), ("orange", "run"), ("grey", "grape"),
    ("golden", "old", "cold"), ("friday", "ride"), ("sunday", "sun"), ("may", "tomato"), ("ball", "football"),
    ("bed", "bedroom"), ("brush", "toothbrush"), ("car", "card", "carpet", "scarf"), ("chair", "cherry"),
    ("clock", "lock"), ("drawer", "draw"), ("key", "keyboard"), ("key", "donkey"), ("key", "monkey"),
    ("key", "cookie"), ("key", "lucky"), ("phone", "microphone", "telephone"), ("paper", "newspaper"),
    ("pan", "panda", "pancake"), ("pen", "pencil"), ("pen", "expensive"), ("plate", "play"), ("ring", "bring"),
    ("ring", "drink"), ("sink", "sing"), ("sweater", "wet"), ("toilet", "toy"), ("towel", "owl"), ("train", "rain"),
    ("strange", "train"), ("strange", "rain"), ("tree", "street"), ("bear", "strawberry"), ("butterfly", "butter"),
    ("apple", "pineapple"), ("cake", "pancake"), ("cookie", "cook"), ("eat", "pizza"), ("eat", "street"),
    ("eat", "peter"), ("eat", "sweet"), ("big", "begin"), ("loud", "cloud"), ("listen", "sun"), ("teach", "teacher"),
    ("coat", "raincoat"), ("rain", "raincoat"), ("doll", "dolphin"), ("flower", "sunflower"), ("sun", "sunflower"),
    ("water", "waterfall"), ("pear", "parrot"), ("tree", "history"),
)  # fmt: skip
"""Groups of words that cannot be told apart by ear, or of which one is within the other."""

MAX_NUMBER = 120
"""Largest number that ``number_words`` writes."""


def number_words(number: int) -> tuple[str, ...]:
    """``number`` (0 to ``MAX_NUMBER``) as it is said: 21 is ("twenty", "one"), 105 ("one", "hundred", "five").

    Raises ``InputError`` outside that range.
    """
    if not 0 <= number <= MAX_NUMBER:
        raise InputError(f"number {number} is outside 0 to {MAX_NUMBER}")
    if number <= 20:
        return (NUMBERS[number],)
    if number < 100:
        tens = NUMBERS[18 + number // 10]
        return (tens, *number_words(number % 10)) if number % 10 else (tens,)
    return ("one", "hundred", *number_words(number - 100)) if number > 100 else ("one", "hundred")
