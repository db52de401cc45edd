"""Small streams that no encoder of the test environment can write, and the pixels that went into them.

Written with pyjpegls 1.5.1 (CharLS 2.4), cjpeg of libjpeg-turbo 2.1.5 and opj_compress of OpenJPEG 2.5.0.
"""

from base64 import b64decode

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 12, 16


def pattern(levels: int, samples: int = 1) -> NDArray[np.int64]:
    """Return values below `levels`, (ROWS, COLUMNS) or (ROWS, COLUMNS, samples)."""
    down, across = np.indices((ROWS, COLUMNS))
    planes = [(down * (5 + 2 * sample) + across * (11 - 3 * sample)) % 512 for sample in range(samples)]
    pixels = np.stack([np.minimum(plane, 511 - plane) * (levels - 1) // 255 for plane in planes], axis=-1)
    return np.asarray(pixels[..., 0] if samples == 1 else pixels)


STREAMS: dict[str, bytes] = {
    "jpeg-ls by plane, near 0": b64decode(
        "/9j/9wARCAAMABADAREAAhEAAxEA/9oACAEBAAAAAIFBQUtH/dp//zumMjk220lRjVVV+hH/f7v/eif/fb//bf9/b/97f/9b"
        "/3yf/2D/2gAIAQIAAAAAhx2jtWn93bu7GGYpHZmbbbDbSSSqqmVVVVWr/30f/33/f5//ef9/n/97/39//2D/2gAIAQMAAAAA"
        "ilL+l/f/NtDGRybbaSowaqqv0Ef/fnf/dGf/fK//eR//d3//Xf9/Z/95n/9g/9k="
    ),
    "jpeg-ls by line, near 0": b64decode(
        "/9j/9wARCAAMABADAREAAhEAAxEA/9oADAMBAAIAAwAAAQCBQUFLR/3af/87s9q4iIiIkkkktzLMzIiIiGMjk220lRmDMUjs"
        "zNtthgxkcm22kqMaqqv0bSSSqqmBqqq/Qj//dVVVVaiP/33f/1P/fQ7/fon/f3//cz//bf9/f/9iv/9t/39//2I//23/f3//"
        "Z3//W/9+/3/d/39v/3P/f2f/eT//T/99n/9g/9k="
    ),
    "jpeg-ls by pixel, near 0": b64decode(
        "/9j/9wARCAAMABADAREAAhEAAxEA/9oADAMBAAIAAwAAAgCBiFArSgq7L3L/Su6TdJnEznzj1HqPUeo9QzAxhjIYjlciE3bZ"
        "tm2bbTSaWrVowxjYNapUqVKlVVu7u6hiERG7u7u7u7v/Fd13/3//f/9RCJZ//3//f/7tqv9//3//fs2o/3//f/9+zb3/f/9/"
        "/32be/9//3//e23P/3//f/9NJz//f/9//mj/2Q=="
    ),
    "jpeg-ls by plane, near 2": b64decode(
        "/9j/9wARCAAMABADAREAAhEAAxEA/9oACAEBAAIAAJs23v9fpKVKsjSOlLRRVUV/UV//Vf9+Sf98/3//f8//f/9//3//2gAI"
        "AQIAAgAAnve/7mkSSSSkkklUb+lKViil1/8UUivm/XKvJdfn/q//T/96/3nX/3KA/9oACAEDAAIAAL/+fmySkkjSqiyrH8rP"
        "S80f/q1//o8//Lr/edf/D/90j/9z/35A/9k="
    ),
    "jpeg-ls by line, near 2": b64decode(
        "/9j/9wARCAAMABADAREAAhEAAxEA/9oADAMBAAIAAwACAQCbNt7/X8/9qv77uMzNJSpVkaSSSSv0SUZ9JJI8q0VSRKNkzKRZ"
        "f/5RX/uVKuVSl/9//3Mq+Zs//2tP/x8r/k//cr//Z+f5P/9P/3+fPyv/fu//f/9nf/177/9//1/7ff958/J/3+/+/3//freA"
        "/9k="
    ),
    "jpeg-ls by pixel, near 2": b64decode(
        "/9j/9wARCAAMABADAREAAhEAAxEA/9oADAMBAAIAAwACAgCIk/Pn92f9fcvnZdeUiSSSikjWRKlIpVpUq1JUlNSpezo/Ov9z"
        "SWf/c67Ov/9pLP9P/3/z/mlMr7zl/3//fVf1/r/+f/5PP/9t/0//fuv+c9f/f381P+v/f7//e/9v/3/6f86e/f9v/3/8/9k="
    ),
    "jpeg-ls of 2 bits": b64decode("/9j/9wALAgAMABABAREA/9oACAEBAAAAAPzv+rHere9ddb568751464134z/2Q=="),
    "jpeg-ls of 5 bits": b64decode(
        "/9j/9wALBQAMABABAREA/9oACAEBAAAAAL37p3aVv/FTXd1O7/r/fo//eu//P93f/37/fz//f/9w/9k="
    ),
    "jpeg-ls of 7 bits": b64decode(
        "/9j/9wALBwAMABABAREA/9oACAEBAAAAAIMMG79b777yIiSVVqRf/0Rf/1f/ei//d/9+X/9v/3V//3//V/94/9k="
    ),
    "jpeg-ls of 10 bits": b64decode(
        "/9j/9wALCgAMABABAREA/9oACAEBAAAAAIFwXBc1U1FPT0tJR0VDQf5gwmSIkH3nXCyiSHjXuc5rWuYxjGLWTWta1rWpmZmZ"
        "iTMzMzszKqqxFVVVVVVVVVUgqqrJttpNPpJJJJJJJ5JJJJVKuqpVVVXFVVVH7c//KP/Z"
    ),
    "jpeg-ls of 12 bits": b64decode(
        "/9j/9wALDAAMABABAREA/9oACAEBAAAAAIF8GEF831dVlWVXVNU1RU1TVLUcwGBPJ5NJhMJRJJJHIxGIhDGJCIRAf399fHx6"
        "eXl3dnZ0J7m5OTg3l5aWFhUUlJOTEpOJSMiIyEgIX75+9evHjwmu3bpy6cuHDds1atWjMms2TNixZMGDBewXrl64lr1q1ctW"
        "rFi1ttxppslNNMsssMsMMsLsLrkpdddZdZZdZZdVVZUkKqrKKKqKKsY1a2Edi1sWti1sWtalEYD/2Q=="
    ),
    "jpeg-ls of 15 bits": b64decode(
        "/9j/9wALDwAMABABAREA//gADQF//wASAEMBFABA/9oACAEBAAAAAIGEgwk4SsFWCrAVgKv1X6r5V8q9VeqvFXiYIYIoIoAo"
        "An4n4nwnwnonongngnYnYYInQnQnInInAnAm4m4mwmwmomomgmgmYoImYmQmQmImImAmAl4l4lwlwlololglgoAlYlYlQlQl"
        "IlIlAlAk4k4kwkwkokokgoAkgkYkYkQkQkIkIkAkAj4j4jwjwjojon4jgjgjYjYjQjQjIjIjAjAi4i4iwiwion4ioigigiYi"
        "YiQiQiIiIiAiAh4h4hwhwnwhohohghghYhYhQhQhIhIhAhAg4g4gwnwgwgogogggggYgYgQgQgMgQgMgQgMgQnogMgQgMgQg"
        "MgQgMgQgMgQgMgQgMgQgMnogQgMgQgMgQgMgQgMgQgMgQgMgQgMgQngA/9k="
    ),
    "jpeg arithmetic": b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQIBAQEBAQIBAQECAgICAgICAgIDAwQDAwMDAwICAwQD"
        "AwQEBAQEAgMFBQQEBQQEBAT/yQALCAAMABABAREA/8wABgAQEAX/2gAIAQEAAD8A/wD2YGOY4FpQKWPgnlh1woef4y16+e2/"
        "cR4ddqxai4W9/v4DuA/m/pxDPlZa6eEwjYD/2Q=="
    ),
    "jpeg arithmetic progressive": b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQIBAQEBAQIBAQECAgICAgICAgIDAwQDAwMDAwICAwQD"
        "AwQEBAQEAgMFBQQEBQQEBAT/ygALCAAMABABAREA/8wABAAQ/9oACAEBAAAAAf8A7MAEkW2TX/D/zAAEEAX/2gAIAQEAAQUC"
        "Fox7E9Kb1woL9scy6f/MAAQQBf/aAAgBAQAGPwIUAmo/PTD/zAAEEAX/2gAIAQEAAT8hH23bm8BgIv/aAAgBAQAAABBg/8wA"
        "BBAF/9oACAEBAAE/ENXD28F7NSrUO/ZTQP/Z"
    ),
    "jpeg in three scans": b64decode(
        "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwABAQEBAQEBAQEBAQEBAQECAQEBAQECAQEBAgICAgICAgICAwMEAwMDAwMCAgMEAwME"
        "BAQEBAIDBQUEBAUEBAQE/8AAEQgADAAQA1IRAEcRAEIRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQ"
        "AAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5"
        "OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TF"
        "xsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAAgBUgAAPwD+b/8AY2+En/IK/wBF/ufwfSv6wP2NvhJ/yCv9"
        "F/ufwfSvxN/Y28NaT/xKv9H/ALnce3tX9YH7G3hrSf8AiVf6P/c7j29q/9oACAFHAAA/AP5o/wBm39n/AP48P9C/u/8ALP6V"
        "/QB+zb+z/wD8eH+hf3f+Wf0r55/Zt8GaB/oH+if3e49vav6AP2bfBmgf6B/on93uPb2r/9oACAFCAAA/AP5h/hJ+y3/x6/8A"
        "Eu9P+WVfqB8JP2W/+PX/AIl3p/yyr6m+Enw98L/6L/oPp3H+FfqB8JPh74X/ANF/0H07j/Cv/9k="
    ),
    "jpeg in two scans": b64decode(
        "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwABAQEBAQEBAQEBAQEBAQECAQEBAQECAQEBAgICAgICAgICAwMEAwMDAwMCAgMEAwME"
        "BAQEBAIDBQUEBAUEBAQE/8AAEQgADAAQA1IRAEcRAEIRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQ"
        "AAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5"
        "OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TF"
        "xsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAAgBUgAAPwD+b/8AY2+En/IK/wBF/ufwfSv6wP2NvhJ/yCv9"
        "F/ufwfSvxN/Y28NaT/xKv9H/ALnce3tX9YH7G3hrSf8AiVf6P/c7j29q/9oACgJHAEIAAD8A/mj/AGbf2f8A/jw/0L+7/wAs"
        "/pX8w/wk/Zb/AOPX/iXen/LKv6AP2bf2f/8Ajw/0L+7/AMs/pX6gfCT9lv8A49f+Jd6f8sq+ef2bfBmgf6B/on93uPb2r6m+"
        "Enw98L/6L/oPp3H+Ff0Afs2+DNA/0D/RP7vce3tX6gfCT4e+F/8ARf8AQfTuP8K//9k="
    ),
    "jpeg sampled 2x2 of one component": b64decode(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQIBAQEBAQIBAQECAgICAgICAgIDAwQDAwMDAwICAwQD"
        "AwQEBAQEAgMFBQQEBQQEBAT/wAALCAAMABABASIA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgED"
        "AwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RF"
        "RkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJ"
        "ytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/90ABAAB/9oACAEBAAA/AP5v/wBjb4Sf8gr/AEX+5/B9K//Q+gP2NvhJ"
        "/wAgr/Rf7n8H0r//0fzN/Y28NaT/AMSr/R/7nce3tX//0v2O/Y28NaT/AMSr/R/7nce3tX//2Q=="
    ),
    "jpeg 2000 sampled 2x2": b64decode(
        "/0//UQAvAAAAAAAQAAAADAAAAAAAAAAAAAAAEAAAAAwAAAAAAAAAAAADBwEBBwICBwIC/1IADAAAAAEAAQQEAAH/XAAHQEBI"
        "SFD/ZAAlAAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjD/kAAKAAAAAABgAAH/k9+BUBIoGb/SLh/gX0T3B6Gf"
        "tEmbk7qBzFjYP2ghQ6HMG178qRFlisy0yWVGq8PnDAjsZIJZCMfUEgI0gNrZADA1n8D5AkB8IYA2nSXfQI4AgID/2Q=="
    ),
    "jpeg 2000 sYCC": b64decode(
        "AAAADGpQICANCocKAAAAFGZ0eXBqcDIgAAAAAGpwMiAAAAAtanAyaAAAABZpaGRyAAAADAAAABAAAwcHAAAAAAAPY29scgEA"
        "AAAAABIAAADqanAyY/9P/1EALwAAAAAAEAAAAAwAAAAAAAAAAAAAABAAAAAMAAAAAAAAAAAAAwcBAQcBAQcBAf9SAAwAAAAB"
        "AAEEBAAB/1wAB0BASEhQ/2QAJQABQ3JlYXRlZCBieSBPcGVuSlBFRyB2ZXJzaW9uIDIuNS4w/5AACgAAAAAAbwAB/5PfgVAS"
        "KBm/0i4f4F9E9wehn7RJm5O6gcxY2D9oIUOhzBte/KkRZYrMtMllRqvD5xYRUFStjjMgAAYSEsfUJhQAXIcu6yAABhIMCc4S"
        "DonuEg/A+QJAfCGANp0l30COAICA/9k="
    ),
    "jpeg 2000 with tile-parts by resolution": b64decode(
        "/0//UQApAAAAAAAQAAAADAAAAAAAAAAAAAAAEAAAAAwAAAAAAAAAAAABCwEB/1IADAYAAAEAAgQEAAH/XAAKQGBoaHBoaHD/"
        "ZAAlAAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjD/kAAKAAAAAAAyAAP/WAAEAB7/k/+RAAQAAM/kTP+SCPGS"
        "JsXmq+Q854kTUezJHrdqM/+QAAoAAAAAADoBA/9YAAQAJv+T/5EABAABwfmEwPwCIABI/5Ib7l6huznFQD8MvzBLodwf+gZ0"
        "bq//kAAKAAAAAABPAgP/WAAEADv/k/+RAAQAAsD8BGA+0QgAFQD/kjadJdk87n7T2uSenfurpt+/QI4Av5B4OsYQho2bZ6Ei"
        "mglwbJxVETF//9k="
    ),
    "jpeg 2000 with every code-block style": b64decode(
        "/0//UQApAAAAAAAQAAAADAAAAAAAAAAAAAAAEAAAAAwAAAAAAAAAAAABCwEB/1IADAAAAAEAAgQEPwH/XAAKQGBoaHBoaHD/"
        "ZAAlAAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjD/kAAKAAAAAADuAAH/k8/k0UUSiUSiEQiEQiEQCPHCxQLG"
        "Aa7PwWK2AMautiqqaraV28q2+5W233W23OW2xxW20hW2wfmRJJJJJJJJJJJUD8DJJJJJJJJJRMAAlBvUQMxKQEBKQEBKCgpK"
        "CupKCupKCupKRUoGwgzCLUxMRkzSRkzSRgUFRgV1RgWFRugq9cUGdG6wicD8DJJJJJJJJJR0B9pkkkkkkklHwACoNprrZGTt"
        "ZN7tZN7tAQHtAQHtAQHtSCrZEB0LNEg3QIwhcnJvcuVvcnJvAABvAABvIhWSCUspjp9HvQlwbJxVETGG/9k="
    ),
    "jpeg 2000 with precincts": b64decode(
        "/0//UQApAAAAAAAQAAAADAAAAAAAAAAAAAAAEAAAAAwAAAAAAAAAAAABCwEB/1IADwEDAAEAAgQEAAERIjP/XAAKQGBoaHBo"
        "aHD/ZAAlAAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjD/kAAKAAAAAAC7AAH/k8/kGAiXT83xfcABDAARQACI"
        "BwBfBj/AARwAEkAAjBAdCglLKX8JcG/H7A4Hl2itezmfwfmCoABCDPsvhn8MwPwCYACWAASgIhnTGpTDZfCVDs/r/38UxTM5"
        "f8/kEAYSGK+gfgBwACECSx8LwAEcB9oNAAIgA7V/C0FbqQVXD4fH7AgLObuvwfmBwPwA4ABCCy7fAkt/AcD8AWA+0GgAEQAV"
        "hKsHXwtBW6kDDwtF/9k="
    ),
    "jpeg 2000 with an offset": b64decode(
        "/0//UQApAAAAAAAVAAAADwAAAAUAAAADAAAAFQAAAA8AAAAAAAAAAAABCwEB/1IADAAAAAEAAQQEAAH/XAAHQGBoaHD/ZAAl"
        "AAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjD/kAAKAAAAAACMAAH/k8/lFBFO+BPle0RAMM3dyEi69TJUmT0X"
        "1Y5oZeZv4eIWa+c2pGfsJ/6CD6skol5IMnHAqPl957F+4HxS0wah2bbZsMbEiAh1d8D8BGA+0RgAFUARayvdoR0KYCDIlK1y"
        "CChemxKN/CmB1a4kd9rd4F5Bhv8/CsV5G62Sw4dY2//Z"
    ),
    "jpeg 2000 with an offset and tiles": b64decode(
        "/0//UQApAAAAAAAVAAAADwAAAAUAAAADAAAACAAAAAgAAAACAAAAAgABCwEB/1IADAAAAAEAAQQEAAH/XAAHQGBoaHD/ZAAl"
        "AAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjD/kAAKAAAAAAA2AAH/k8/kKAjnjs11t66W1mPA/AIgPtBoABGA"
        "CTdfI8Dgz/gRg8Ov6CMKxXz/kAAKAAEAAABDAAH/k8/kSAal01akj/Sa+FVWP8ecGp/TjcD8AaA+0LgAEoAb9eag6UQRg83t"
        "/zDb6CFxnxF5T8mf/5AACgACAAAALAAB/5PH7BQMaBRc3IskD/K3oD7QiAARABGDxRJ0gd0/FC//kAAKAAMAAAAvAAH/k8/k"
        "KAk6DCnLAMWXJOLA/AIgAIYABEAJN18jwODRMgQGN/+QAAoABAAAADgAAf+Tx+wkBo4VbY0qfqMDIWE2IAvKoAxvwPwB4ACK"
        "AARgG/XmoLiTNgI7A7d//5AACgAFAAAAKQAB/5PP5CgMaBZgVQzAn8RXwAOhQAEUAAhADX8Knwr/2Q=="
    ),
    "jpeg 2000 with a region of interest": b64decode(
        "/0//UQApAAAAAAAQAAAADAAAAAAAAAAAAAAAEAAAAAwAAAAAAAAAAAABCwEB/1IADAAAAAEAAQQEAAH/XAAHQGBoaHD/XgAF"
        "AAAF/2QAJQABQ3JlYXRlZCBieSBPcGVuSlBFRyB2ZXJzaW9uIDIuNS4w/5AACgAAAAAAhwAB/5Pf4QwSKBmP0DIBHb+SjhmQ"
        "QQD5tG/jVFSlgVenA2P5bb5jVSoktNBZjfOEi+qOXOXwgAB5YQHnaN6/R6AddXl6KvLcItR/wPwEYD7RCAAVADadJdk87n7T"
        "2uSenfurpt+/QI4Av5B4OsYQho2bZ6EimglwbJxVETF//9k="
    ),
}
